/* SPDX-License-Identifier: MIT */
/*
 * The loops of pydsr/hashing/slots.py, which says what they do and does the same where
 * this is not built. Freestanding: there is nothing to link with. Without
 * branches: a slot's contents cannot be predicted from the slot before it.
 */

#include <stdint.h>

#define NO_BACKEND 0
#define LOOK_UP_ONLY 0xFFFF

/* As xdp/types.h has it. */
struct slot {
	uint16_t current;
	uint16_t previous;
};

/* One value or the other, by a condition of 1 or 0; a ternary may branch. */
static inline uint16_t either(uint32_t condition, uint16_t first,
			      uint16_t other)
{
	uint16_t mask = -condition;

	return (first & mask) | (other & ~mask);
}

void pydsr_slots_part(uint32_t size, const struct slot *slots,
		      uint16_t *current, uint16_t *previous)
{
	for (uint32_t slot = 0; slot < size; slot++) {
		current[slot] = slots[slot].current;
		previous[slot] = slots[slot].previous;
	}
}

void pydsr_slots_join(uint32_t size, const uint16_t *current,
		      const uint16_t *previous, struct slot *slots)
{
	for (uint32_t slot = 0; slot < size; slot++) {
		slots[slot].current = current[slot];
		slots[slot].previous = previous[slot];
	}
}

/* Put ids in the place of owners' numbers. */
void pydsr_slots_name(uint32_t size, const uint16_t *owners,
		      const uint16_t *ids, uint16_t *named)
{
	for (uint32_t slot = 0; slot < size; slot++)
		named[slot] = ids[owners[slot]];
}

uint32_t pydsr_slots_count(uint32_t size, const uint16_t *values,
			   uint16_t value)
{
	uint32_t count = 0;

	for (uint32_t slot = 0; slot < size; slot++)
		count += values[slot] == value;
	return count;
}

/* Count the slots that had an owner, and have another. */
uint32_t pydsr_slots_moved(uint32_t size, const uint16_t *before,
			   const uint16_t *after)
{
	uint32_t count = 0;

	for (uint32_t slot = 0; slot < size; slot++)
		count += before[slot] != NO_BACKEND &&
			 before[slot] != after[slot];
	return count;
}

/*
 * Say who the previous owners are after a change.
 *
 * owners, old_owners: of each slot, after the change and before it.
 * previous: the previous owners before the change; replaced.
 * keeping: for each id, whether that backend keeps flows it has.
 * learning: whether slots still learn from an earlier change.
 *
 * Returns whether any slot has a previous owner.
 */
uint32_t pydsr_slots_follow(uint32_t size, const uint16_t *owners,
			    const uint16_t *old_owners, uint16_t *previous,
			    const uint8_t *keeping, uint32_t learning)
{
	uint32_t learns = 0;

	for (uint32_t slot = 0; slot < size; slot++) {
		uint16_t old = previous[slot];
		uint32_t tracked = old != NO_BACKEND;
		uint32_t learns_on = tracked & (old != LOOK_UP_ONLY) & learning;
		uint16_t oldest = either(learns_on, old, old_owners[slot]);
		uint32_t keeps = keeping[oldest] & (oldest != owners[slot]);
		uint16_t none = either(tracked, LOOK_UP_ONLY, NO_BACKEND);

		previous[slot] = either(keeps, oldest, none);
		learns |= keeps;
	}
	return learns;
}

/*
 * Bring slots to rest.
 *
 * previous: the previous owner of each slot; NO_BACKEND for those at rest.
 * recorded: for each slot, whether a record keeps it from coming to rest.
 * learning: whether slots with a previous owner still learn.
 *
 * Returns how many come to rest.
 */
uint32_t pydsr_slots_rest(uint32_t size, uint16_t *previous,
			  const uint8_t *recorded, uint32_t learning)
{
	uint32_t rested = 0;

	for (uint32_t slot = 0; slot < size; slot++) {
		uint16_t old = previous[slot];
		uint32_t rests = (old != NO_BACKEND) & !recorded[slot] &
				 (!learning | (old == LOOK_UP_ONLY));

		previous[slot] = either(rests, NO_BACKEND, old);
		rested += rests;
	}
	return rested;
}
