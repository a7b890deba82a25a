/* Whether this session is the one that takes a disk below its floor: a judgement over what was seen of it, without a system
 * call.
 *
 * A disk is shared by sessions that know nothing of each other, and what is left of it falls whoever writes. So each judges
 * itself, by two measures. Proven: it is known to have been writing while the rest fell; it ends at the floor. Suspected: it ran
 * meanwhile and nothing clears it; it ends only below half of the floor, and not before those who were proven had the time
 * to go and give back what they took. Who did not run at all is never ended.
 */
#ifndef FUMEHOOD_FLOOR_H
#define FUMEHOOD_FLOOR_H

#include <stdbool.h>
#include <stdint.h>

/* What a session may take of that which the floor keeps: a sixteenth. Not every log line of an innocent ends it. */
#define FLOOR_ALLOWANCE 16
/* Known to write is who has at least a quarter of what fell to show for it. */
#define FLOOR_SHARE 4
/* For the proven to end and for the engine to remove what they wrote. */
#define FLOOR_PATIENCE_MS 3000

/* One measure of one file system: its bytes, or the files that it can still hold. */
struct floor {
	uint64_t floor;            /* 0: not watched */
	uint64_t left;             /* at the last look */
	uint64_t proven, suspected;
	uint64_t low_since;        /* suspected of too much and below half of the floor; 0: not so */
};

/* What a look has found, of the time since the last one. */
struct floor_look {
	uint64_t now_ms;           /* not 0 */
	uint64_t left;
	uint64_t evidence;         /* what this session is known to have written, in the same measure */
	bool ran;                  /* whether any of its processes ran */
};

enum floor_verdict { FLOOR_FINE, FLOOR_WAIT, FLOOR_END };

/* Whether a file system of this type (statfs's) lies on a disk, and tells its numbers without waiting for a network. */
bool floor_watches(uint32_t type);

/* The default for a file system of this size: a twentieth, at most `most`. */
uint64_t floor_default(uint64_t total, uint64_t most);

/* A look that begins a time of work: nothing that fell before is this session's. */
void floor_begin(struct floor *floor, uint64_t left);
/* A look that ends some of it. With FLOOR_WAIT another one is needed, even if nothing runs any more. */
enum floor_verdict floor_judge(struct floor *floor, const struct floor_look *look);

#endif
