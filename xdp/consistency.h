/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Keeping flows on their backends while a table changes. Without a change, no
 * flow is recorded: docs/decisions/0002-no-table-at-rest.md.
 *
 * A slot at rest costs one comparison. The flows of a changing slot are looked
 * up in the records:
 *
 *  - TCP and SCTP, with affinity by flow: a packet that opens a flow (SYN, INIT)
 *    goes to the slot's current backend. Its flow waits in `pending` until the
 *    next packet promotes it to a record, so that a SYN flood cannot evict
 *    records. Any other packet without a record belongs to a flow older than
 *    the change: while the slot is learning, it stays on the slot's previous
 *    backend and is recorded.
 *  - Other flows have no SYN. While the slot is learning, a flow without a
 *    record stays on the previous backend and is recorded.
 *  - After learn_until, or where there is nothing to learn (LOOK_UP_ONLY), a
 *    flow without a record goes to the current backend.
 */
#ifndef PYDSR_CONSISTENCY_H
#define PYDSR_CONSISTENCY_H

#include <uapi/linux/in.h>

#include "bpf.h"
#include "decision.h"
#include "maps.h"
#include "packet.h"
#include "types.h"
#include "verdicts.h"

/* Whether a record's backend still belongs to the service and keeps flows. */
static __always_inline bool backend_keeps(__u32 id, __u32 service)
{
	struct backend *backend = bpf_map_lookup_elem(MAP(backends), &id);

	return backend && backend->service == service &&
	       (backend->state == BACKEND_UP ||
		backend->state == BACKEND_DRAIN);
}

static __always_inline void record_write(void *map, struct flow_key *flow,
					 const struct decision *decision,
					 bool closes, __u64 now)
{
	struct record record = {
		.last_seen = now,
		.slot = decision->slot,
		.backend = decision->backend,
		.flags = closes ? RECORD_CLOSING : 0,
	};

	bpf_map_update_elem(map, flow, &record, BPF_ANY);
}

/* Choose the backend and the reason for a flow whose slot is changing. */
static __always_inline void
backend_choose_tracked(const struct service *service, const struct table *table,
		       struct slot slot, const struct packet *packet,
		       struct flow_key *flow, struct decision *decision,
		       enum mode mode)
{
	bool has_syn = (packet->ip_proto == IPPROTO_TCP ||
			packet->ip_proto == IPPROTO_SCTP) &&
		       service->affinity == AFFINITY_FLOW;
	/* With affinity by address, a client's other connections continue. */
	bool closes = has_syn && packet_closes(packet);
	struct record *record, *pending = NULL;
	__u64 now = bpf_ktime_get_coarse_ns();
	bool remember = mode == MODE_REMEMBER;

	decision->backend = slot.current;
	decision->reason = REASON_FORWARDED_CURRENT;
	if (has_syn && packet_opens(packet)) {
		if (remember)
			record_write(MAP(pending), flow, decision, closes, now);
		return;
	}

	if (has_syn)
		pending = bpf_map_lookup_elem(MAP(pending), flow);
	if (pending && backend_keeps(pending->backend, service->id)) {
		decision->backend = pending->backend;
		decision->reason = REASON_FORWARDED_RECORDED;
		if (remember) {
			record_write(MAP(records), flow, decision, closes, now);
			bpf_map_delete_elem(MAP(pending), flow);
		}
		return;
	}

	record = bpf_map_lookup_elem(MAP(records), flow);
	if (record && backend_keeps(record->backend, service->id)) {
		decision->backend = record->backend;
		decision->reason = REASON_FORWARDED_RECORDED;
		if (remember) {
			record->last_seen = now;
			if (closes)
				record->flags |= RECORD_CLOSING;
		}
		return;
	}

	if (slot.previous != LOOK_UP_ONLY && now < table->learn_until) {
		decision->backend = slot.previous;
		decision->reason = REASON_FORWARDED_PREVIOUS;
		if (remember)
			record_write(MAP(records), flow, decision, closes, now);
	}
}

#endif
