/* Killing a command with everything that it started, by ancestry.
 *
 * A command's tree is what descends from its reaper. A round scans /proc and kills all of it. The first rounds touch
 * nothing else; a tree that forks faster than it is scanned is then met with everything stopped
 * (kill(-1, SIGSTOP): a fork under way fails, so nothing new appears), and the innocent continued. What is dead is
 * decided by no scan: a tree is gone when its reaper has been reaped, and a reaper ends when it has no child left.
 *
 * A tree that is still there after KILL_PATIENCE ends the session, whose end kills everything. Nothing here is ever
 * reported as killed that may be alive.
 */
#ifndef FUMEHOOD_TREE_H
#define FUMEHOOD_TREE_H

#include <stdbool.h>
#include <stdint.h>

struct task;

/* Begin to kill a command's tree. Its task is told (reaped) when nothing of it is left. */
void tree_kill(struct task *task);
/* Send a signal to every process of the tree, and let those go on that are stopped. */
void tree_signal(const struct task *task, int number);
/* How many processes of the tree are alive now, its reaper not counted. */
uint32_t tree_count(const struct task *task);
/* Trees that are alive. */
uint32_t trees(void);

/* A process that PID 1 did not start has become its child: find them all and kill them. */
void tree_stray_seen(void);
/* Whether strays may still be alive. */
bool tree_strays(void);

/* Kill every process but the relays, which still have something to deliver. */
void tree_kill_all(void);

uint64_t trees_deadline(void);
void trees_due(uint64_t now);

#endif
