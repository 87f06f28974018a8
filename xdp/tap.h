/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Captures (`pydsr tap`). While one word is set, the attached program jumps to
 * the program that the capture has put into a map of programs. That program
 * handles the packet in the same way and copies it to a ring buffer. If the map
 * is empty, as a killed `pydsr tap` leaves it, the attached program goes on.
 */
#ifndef PYDSR_TAP_H
#define PYDSR_TAP_H

#include <uapi/linux/if_ether.h>

#include "bpf.h"
#include "decision.h"
#include "maps.h"
#include "types.h"
#include "verdicts.h"

#define TAP_EVENT_BYTES __builtin_offsetof(struct tap_event, frame)

static __always_inline void tap_divert(struct xdp_md *ctx)
{
#ifdef PYDSR_WITH_TAP
	const volatile __u32 *capturing = MAP_ELEMENT(tap);

	if (unlikely(*capturing))
		bpf_tail_call(ctx, MAP(tap_program), 0);
#endif
}

#ifdef PYDSR_FD_tap_ring
/* Whether the capture asked for packets that leave for this reason. */
static __always_inline bool tap_wants(enum reason reason)
{
	return reason < 64 && (PYDSR_TAP_REASONS >> reason & 1);
}

/*
 * Copy one of PYDSR_TAP_EVERY packets as it came in. The copy is per CPU: no
 * other packet overwrites it before tap_end().
 */
static __always_inline struct tap_event *tap_begin(struct xdp_md *ctx)
{
	__u32 only = 0;
	struct tap_event *event = bpf_map_lookup_elem(MAP(tap_scratch), &only);
	__u64 bytes = bpf_xdp_get_buff_len(ctx);

	if (!event)
		return NULL;
	event->frame_bytes = bytes;
	event->captured_bytes = 0;
	if (PYDSR_TAP_EVERY > 1 && bpf_get_prandom_u32() % PYDSR_TAP_EVERY)
		return event;
	if (bytes > TAP_BYTES_MAX)
		bytes = TAP_BYTES_MAX;
	/* The verifier must see the bound in the register that is used. */
	asm volatile("" : "+r"(bytes));
	bytes &= TAP_BYTES_MAX;
	if (bytes < ETH_HLEN ||
	    bpf_xdp_load_bytes(ctx, 0, event->frame, bytes) < 0)
		return event;
	event->captured_bytes = bytes;
	event->time = bpf_ktime_get_ns();
	event->ingress = ctx->ingress_ifindex;
	return event;
}

/* Hand the copy to the capture, if it wants packets of this reason. */
static __always_inline void tap_end(struct tap_event *event,
				    const struct decision *decision,
				    enum reason reason)
{
	__u64 bytes = event->captured_bytes;
	__u32 only = 0;
	__u64 *lost;

	if (!bytes || !tap_wants(reason))
		return;
	event->reason = reason;
	event->service = decision->service;
	event->backend = decision->backend;
	event->egress = decision->egress;
	asm volatile("" : "+r"(bytes));
	bytes &= TAP_BYTES_MAX;
	if (!bpf_ringbuf_output(MAP(tap_ring), event, TAP_EVENT_BYTES + bytes,
				0))
		return;
	lost = bpf_map_lookup_elem(MAP(tap_lost), &only);
	if (lost)
		__sync_fetch_and_add(lost, 1);
}
#endif

#endif
