/* SPDX-License-Identifier: MIT */
/*
 * The inner loop of pydsr/hashing/maglev.py, which says what it does and does the same
 * where this is not built. Freestanding: there is nothing to link with.
 */

#include <stdint.h>

#define FREE 0xFFFF

/*
 * Let owners take turns, each claiming the next free slot of its walk.
 *
 * positions: of each owner, where its walk goes on; changed.
 * skips: of each owner, how far a step goes, 1 to size - 1.
 * turns: whose turn it is, size of them.
 * table: the owner of each of size slots, all FREE before.
 */
void pydsr_maglev_fill(uint32_t size, uint32_t *positions,
		       const uint32_t *skips, const uint16_t *turns,
		       uint16_t *table)
{
	for (uint32_t turn = 0; turn < size; turn++) {
		uint16_t owner = turns[turn];
		uint32_t slot = positions[owner];

		while (table[slot] != FREE) {
			slot += skips[owner];
			if (slot >= size)
				slot -= size;
		}
		table[slot] = owner;
		positions[owner] = slot;
	}
}
