#include "floor.h"
#include "test.h"

#define FLOOR 1600
#define ALLOWANCE (FLOOR / FLOOR_ALLOWANCE)

static uint64_t now_ms;

static struct floor watched(uint64_t left)
{
	struct floor floor = {.floor = FLOOR};

	now_ms = 1000;
	floor_begin(&floor, left);
	return floor;
}

/* A look 200 ms after the last one. */
static enum floor_verdict look(struct floor *floor, uint64_t left, uint64_t evidence, bool ran)
{
	struct floor_look found = {.now_ms = now_ms += 200, .left = left, .evidence = evidence, .ran = ran};

	return floor_judge(floor, &found);
}

TEST("above the floor anybody may write")
{
	struct floor floor = watched(10 * FLOOR);

	for (uint64_t left = 10 * FLOOR; left >= FLOOR; left -= ALLOWANCE)
		EQUAL(look(&floor, left, FLOOR, true), FLOOR_FINE);
}

TEST("who is known to write ends at the floor, once it has taken its share of what that keeps")
{
	struct floor floor = watched(FLOOR + 1);

	EQUAL(look(&floor, FLOOR - ALLOWANCE, ALLOWANCE, true), FLOOR_FINE);
	EQUAL(look(&floor, FLOOR - ALLOWANCE - 1, 1, true), FLOOR_END);
}

TEST("of a fall through the floor only what lies below it counts")
{
	struct floor floor = watched(100 * FLOOR);

	EQUAL(look(&floor, FLOOR - ALLOWANCE, 50 * FLOOR, true), FLOOR_FINE);
	EQUAL(look(&floor, FLOOR - 2 * ALLOWANCE, ALLOWANCE, true), FLOOR_END);
}

TEST("who has little to show for a fall has not made it")
{
	struct floor floor = watched(FLOOR);
	uint64_t fall = ALLOWANCE / 2;

	for (uint64_t left = FLOOR - fall; left >= FLOOR / 2; left -= fall)
		EQUAL(look(&floor, left, fall / FLOOR_SHARE - 1, true), FLOOR_FINE);
}

TEST("who did not run is not ended, whatever becomes of the disk")
{
	struct floor floor = watched(FLOOR);

	for (uint64_t left = FLOOR; left-- > 0;)
		EQUAL(look(&floor, left, 0, false), FLOOR_FINE);
	for (int i = 0; i < 100; i++)
		EQUAL(look(&floor, 0, 0, false), FLOOR_FINE);
}

TEST("who only ran has until half of the floor, and then time for the guilty to go")
{
	struct floor floor = watched(FLOOR);
	uint64_t waited = 0;

	EQUAL(look(&floor, FLOOR / 2, 0, true), FLOOR_FINE);
	EQUAL(look(&floor, FLOOR / 2 - 1, 0, true), FLOOR_WAIT);
	/* Neither a rest nor a disk that falls no further clears it. */
	while (waited + 200 < FLOOR_PATIENCE_MS) {
		EQUAL(look(&floor, FLOOR / 2 - 1, 0, false), FLOOR_WAIT);
		waited += 200;
	}
	EQUAL(look(&floor, FLOOR / 2 - 1, 0, false), FLOOR_END);
}

TEST("a suspect is cleared when the guilty has given back what it took")
{
	struct floor floor = watched(FLOOR);

	EQUAL(look(&floor, 0, 0, true), FLOOR_WAIT);
	EQUAL(look(&floor, FLOOR, 0, true), FLOOR_FINE);
	EQUAL(floor.suspected, 0);
	/* From the beginning: what it took before is nothing to it. */
	EQUAL(look(&floor, FLOOR / 2 - 1, 0, false), FLOOR_FINE);
	EQUAL(look(&floor, FLOOR / 2 - 2, 0, true), FLOOR_FINE);
}

TEST("what falls while nothing of the session runs at all is nobody's here")
{
	struct floor floor = watched(100 * FLOOR);

	floor_begin(&floor, 0);
	EQUAL(look(&floor, 0, FLOOR, true), FLOOR_FINE);
	EQUAL(floor.proven, 0);
	EQUAL(floor.suspected, 0);
}

TEST("a session on a disk that was nearly full before it is ended by what it takes itself")
{
	struct floor floor = watched(FLOOR / 4);

	for (int i = 0; i < 50; i++)
		EQUAL(look(&floor, FLOOR / 4, 100 * FLOOR, true), FLOOR_FINE);
	EQUAL(look(&floor, FLOOR / 4 - ALLOWANCE - 1, FLOOR, true), FLOOR_END);
}

TEST("without a floor there is no end")
{
	struct floor floor = watched(100);

	floor.floor = 0;
	EQUAL(look(&floor, 0, 100, true), FLOOR_FINE);
}

TEST("the default is a twentieth, up to a bound")
{
	EQUAL(floor_default(2000, 1000), 100);
	EQUAL(floor_default(20000, 1000), 1000);
	EQUAL(floor_default(UINT64_MAX, 1000), 1000);
	EQUAL(floor_default(0, 1000), 0);
}
