/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * No flow changes its backend because a table changed, and no flow is
 * remembered while none does: docs/decisions/0002-no-table-at-rest.md.
 *
 * A slot at rest costs one comparison here. One that is changing looks its
 * flows up in the records:
 *
 *  - TCP by flow (and SCTP, whose INIT is its SYN): a SYN goes to the slot's current backend and waits in
 *    `pending` until the flow's next packet promotes it to a record, so that
 *    a SYN flood cannot wash records out. Anything else without a record is
 *    older than the change: while the service learns, it stays on the slot's
 *    previous backend and is recorded.
 *  - Everything else has no SYN: while the service learns, what has no record
 *    stays on the previous backend and is recorded.
 *  - After learn_until, or where there is nothing to learn (LOOK_UP_ONLY), what
 *    has no record goes to the current backend.
 */
#ifndef PYDSR_CONSISTENCY_H
#define PYDSR_CONSISTENCY_H

#include "maps.h"
#include "packet.h"
#include "types.h"

struct choice {
	__u32 reason;
	__u32 slot;
	__u16 backend;
};

/* Whether what was remembered of a flow may still send it to that backend. */
static __always_inline bool backend_keeps(__u32 id, __u32 service)
{
	struct backend *backend = map_lookup(MAP(backends), &id);

	return backend && backend->service == service &&
	       (backend->state == BACKEND_UP ||
		backend->state == BACKEND_DRAIN);
}

static __always_inline void record_write(void *map, const struct flow_key *flow,
					 const struct choice *choice,
					 const struct packet *packet, __u64 now)
{
	struct record record = {
		.last_seen = now,
		.slot = choice->slot,
		.backend = choice->backend,
		.flags = packet_closes(packet) ? RECORD_CLOSING : 0,
	};

	map_update(map, flow, &record, BPF_ANY);
}

/*
 * Choose for a flow whose slot is changing. With `remember` false nothing is
 * written: the caller only asks.
 */
static __always_inline void
choice_tracked(const struct service *service, const struct table *table,
	       struct slot slot, const struct packet *packet,
	       const struct flow_key *flow, struct choice *choice,
	       bool remember)
{
	bool has_syn = (packet->ip_proto == IPPROTO_TCP ||
			packet->ip_proto == IPPROTO_SCTP) &&
		       service->affinity == AFFINITY_FLOW;
	struct record *record, *pending = NULL;
	__u64 now = clock_coarse();

	choice->backend = slot.current;
	choice->reason = REASON_FORWARDED_CURRENT;
	if (has_syn && packet_opens(packet)) {
		if (remember)
			record_write(MAP(pending), flow, choice, packet, now);
		return;
	}

	if (has_syn)
		pending = map_lookup(MAP(pending), flow);
	if (pending && backend_keeps(pending->backend, service->id)) {
		choice->backend = pending->backend;
		choice->reason = REASON_FORWARDED_RECORDED;
		if (remember) {
			record_write(MAP(records), flow, choice, packet, now);
			map_delete(MAP(pending), flow);
		}
		return;
	}

	record = map_lookup(MAP(records), flow);
	if (record && backend_keeps(record->backend, service->id)) {
		choice->backend = record->backend;
		choice->reason = REASON_FORWARDED_RECORDED;
		if (remember) {
			record->last_seen = now;
			if (packet_closes(packet))
				record->flags |= RECORD_CLOSING;
		}
		return;
	}

	if (slot.previous != LOOK_UP_ONLY && now < table->learn_until) {
		choice->backend = slot.previous;
		choice->reason = REASON_FORWARDED_PREVIOUS;
		if (remember)
			record_write(MAP(records), flow, choice, packet, now);
	}
}

#endif
