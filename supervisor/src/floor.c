#include "floor.h"

#include <stddef.h>

static const uint32_t on_disks[] = {
	0xef53 /* ext2 to ext4 */, 0x58465342 /* xfs */, 0x9123683e /* btrfs */, 0xf2f52010 /* f2fs */,
	0x2fc12fc1 /* zfs */, 0xca451a4e /* bcachefs */, 0x794c7630 /* overlay */,
};

bool floor_watches(uint32_t type)
{
	for (size_t i = 0; i < sizeof(on_disks) / sizeof(on_disks[0]); i++)
		if (on_disks[i] == type)
			return true;
	return false;
}

uint64_t floor_default(uint64_t total, uint64_t most)
{
	return total / 20 < most ? total / 20 : most;
}

void floor_begin(struct floor *floor, uint64_t left)
{
	floor->left = left;
	if (left >= floor->floor)
		floor->proven = floor->suspected = floor->low_since = 0;
}

/* What fell since the last look, as far as it is below the floor. */
static uint64_t fallen(const struct floor *floor, uint64_t left)
{
	uint64_t from = floor->left < floor->floor ? floor->left : floor->floor;

	return left < from ? from - left : 0;
}

enum floor_verdict floor_judge(struct floor *floor, const struct floor_look *look)
{
	uint64_t fall = fallen(floor, look->left), allowance = floor->floor / FLOOR_ALLOWANCE;

	floor_begin(floor, look->left);
	if (look->left >= floor->floor)
		return FLOOR_FINE;
	if (look->evidence && look->evidence >= fall / FLOOR_SHARE)
		floor->proven += fall;
	if (look->ran)
		floor->suspected += fall;
	if (floor->proven > allowance)
		return FLOOR_END;
	if (floor->suspected <= allowance || look->left >= floor->floor / 2) {
		floor->low_since = 0;
		return FLOOR_FINE;
	}
	if (!floor->low_since)
		floor->low_since = look->now_ms;
	return look->now_ms - floor->low_since >= FLOOR_PATIENCE_MS ? FLOOR_END : FLOOR_WAIT;
}
