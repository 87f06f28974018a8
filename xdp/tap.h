/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Captured packets. The attached program looks at one word: while it is set,
 * it jumps to the program that `pydsr tap` has put into the map of programs,
 * which does the same with the packet and copies it into a ring buffer. An
 * empty place there, as a killed `pydsr tap` leaves it, changes nothing.
 */
#ifndef PYDSR_TAP_H
#define PYDSR_TAP_H

#include "maps.h"
#include "packet.h"

#define TAP_EVENT_BYTES __builtin_offsetof(struct tap_event, frame)

static __always_inline void tap_divert(struct xdp_md *ctx)
{
#ifdef PYDSR_WITH_TAP
	const volatile __u32 *tapped = MAP_ELEMENT(tap);

	if (unlikely(*tapped))
		program_call(ctx, MAP(tap_program), 0);
#endif
}

#ifdef PYDSR_FD_tap_ring
/* Whether a capture asked for packets that leave for this reason. */
static __always_inline bool tap_wants(__u32 reason)
{
	return reason < 64 && (PYDSR_TAP_REASONS >> reason & 1);
}

/*
 * Copy the packet as it came in, one of PYDSR_TAP_EVERY. The copy is this
 * CPU's: no other packet is looked at before tap_end().
 */
static __always_inline struct tap_event *tap_begin(struct xdp_md *ctx)
{
	__u32 only = 0;
	struct tap_event *event = map_lookup(MAP(tap_scratch), &only);
	__u64 bytes = packet_length(ctx);

	if (!event)
		return NULL;
	event->frame_bytes = bytes;
	event->captured_bytes = 0;
	if (PYDSR_TAP_EVERY > 1 && random_number() % PYDSR_TAP_EVERY)
		return event;
	if (bytes > TAP_BYTES_MAX)
		bytes = TAP_BYTES_MAX;
	/* The verifier must see the bound in the register that is used. */
	asm volatile("" : "+r"(bytes));
	bytes &= TAP_BYTES_MAX;
	if (bytes < ETH_HLEN || packet_load(ctx, 0, event->frame, bytes) < 0)
		return event;
	event->captured_bytes = bytes;
	event->time = clock_exact();
	event->ingress = ctx->ingress_ifindex;
	return event;
}

static __always_inline void tap_end(struct tap_event *event,
				    const struct packet *packet, __u32 reason)
{
	__u64 bytes = event->captured_bytes;
	__u32 only = 0;
	__u64 *lost;

	if (!bytes || !tap_wants(reason))
		return;
	event->reason = reason;
	event->service = packet->service;
	event->backend = packet->backend;
	event->egress = packet->egress;
	asm volatile("" : "+r"(bytes));
	bytes &= TAP_BYTES_MAX;
	if (!ring_output(MAP(tap_ring), event, TAP_EVENT_BYTES + bytes, 0))
		return;
	lost = map_lookup(MAP(tap_lost), &only);
	if (lost)
		__sync_fetch_and_add(lost, 1);
}
#endif

#endif
