/* All attacks that `fumehood self-check` makes, in one static program: which one it is, is the name that it is started
 * by. So it needs nothing of an image, and each attack is the very one that tests/hostile makes. */
#include <stdio.h>
#include <string.h>

#include "attack.h"

#define EACH(X) \
	X(binary) X(bomb) X(census) X(descriptors) X(eat) X(evade) X(forge) X(hello) X(kernelfiles) X(matrix) \
	X(network) X(privilege) X(scene) X(signals) X(space) X(syscalls) X(talk) X(tree)

#define DECLARE(name) ATTACK(name)(int argc, char **argv);
#define ROW(name) {#name, attack_##name},

EACH(DECLARE)

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} attacks[] = {EACH(ROW)};

int main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *name = slash ? slash + 1 : argc > 0 ? argv[0] : "";

	for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++)
		if (strcmp(attacks[i].name, name) == 0)
			return attacks[i].run(argc, argv);
	fprintf(stderr, "there is no attack of this name\n");
	return 2;
}
