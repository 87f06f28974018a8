/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The data plane of pydsr: send each packet for a service to one of its
 * backends by changing only the MAC addresses (Direct Server Return).
 *
 * Three programs share one path:
 *  - pydsr_balance is attached to interfaces;
 *  - pydsr_explain is loaded by `pydsr explain` and run by BPF_PROG_TEST_RUN: it
 *    reports the decision about a packet and counts and records nothing;
 *  - pydsr_tap takes the place of pydsr_balance during a capture.
 *
 * Compiled with PYDSR_TABLE_SIZE, PYDSR_SEED, PYDSR_SEED_IPV4 and PYDSR_FD_*
 * defined, and with PYDSR_WITH_* for each feature that the configuration uses.
 */
#include "admission.h"
#include "answers.h"
#include "bpf.h"
#include "consistency.h"
#include "decision.h"
#include "delivery.h"
#include "ethernet.h"
#include "flows.h"
#include "fragments.h"
#include "icmp_errors.h"
#include "interfaces.h"
#include "ipv4.h"
#include "ipv6.h"
#include "maps.h"
#include "packet.h"
#include "parse.h"
#include "service_index.h"
#include "tap.h"
#include "types.h"
#include "verdicts.h"

/* The only exit of the attached programs: no packet leaves uncounted. */
static __always_inline int verdict_count(enum reason reason,
					 const struct decision *decision)
{
	__u32 key = reason;
	__u64 *packets = bpf_map_lookup_elem(MAP(verdicts), &key);

	if (likely(packets))
		*packets += 1;
#ifdef PYDSR_WITH_REDIRECT
	if (decision->egress && reason_verdict(reason) == XDP_TX)
		return XDP_REDIRECT;
#endif
	return reason_verdict(reason);
}

/* Choose the backend of a packet; returns the reason. */
static __always_inline enum reason
backend_choose(const struct service *service, const struct packet *packet,
	       struct decision *decision, enum mode mode)
{
	struct flow_key flow = flow_identify(service, packet);
	struct table *table = table_find(service);
	__u32 number = flow_to_slot(&flow, packet->eth_proto);
	struct slot slot;

	if (unlikely(!table || number >= TABLE_SIZE))
		return REASON_NO_BACKEND;
	slot = table->slots[number];
	decision->service = service->id;
	decision->slot = number;
	decision->backend = slot.current;
	decision->reason = REASON_FORWARDED;
	if (unlikely(slot.previous != NO_BACKEND)) {
		/* Only the copy's address is taken: `flow` stays in registers. */
		struct flow_key tracked = flow;

		backend_choose_tracked(service, table, slot, packet, &tracked,
				       decision, mode);
	}
	return likely(decision->backend != NO_BACKEND) ? decision->reason :
							 REASON_NO_BACKEND;
}

/* Whether to admit a packet, and which backend it goes to. */
static __always_inline enum reason
decide(const struct service *service, const struct packet *packet,
       struct decision *decision, enum mode mode)
{
	if (unlikely(source_denied(service, packet)))
		return REASON_DENIED;
	if (unlikely(flow_exceeds(service, packet, mode)))
		return REASON_FLOW_RATE;
	return backend_choose(service, packet, decision, mode);
}

/* Send a packet for a service to the backend of its flow. */
static __always_inline enum reason
forward(struct xdp_md *ctx, struct ethhdr *eth, const struct service *service,
	const struct packet *packet, struct decision *decision, enum mode mode)
{
	enum reason chosen, delivered;

	if (unlikely(!frame_is_ours(ctx, eth)) &&
	    (!eth || !ingress_is_open(ctx, mode)))
		return REASON_NOT_OUR_MAC;
	chosen = decide(service, packet, decision, mode);
	if (unlikely(!reason_forwards(chosen)))
		return chosen;
	delivered = deliver(ctx, eth, packet, decision, mode);
	if (unlikely(!reason_forwards(delivered)))
		return delivered;
#ifdef PYDSR_WITH_FRAGMENTS
	if (unlikely(packet->fragment) && mode != MODE_ASK)
		fragment_record(packet, decision);
#endif
	return chosen;
}

/* Send a later fragment to the backend of the packet's first one. */
static __always_inline enum reason
forward_fragment(struct xdp_md *ctx, const struct service *vip,
		 const struct packet *packet, struct decision *decision,
		 enum mode mode)
{
#ifdef PYDSR_WITH_FRAGMENTS
	struct ethhdr *eth = frame_ethernet(ctx);
	enum reason reason;

	if (fragment_follow(packet, decision)) {
		if (!frame_is_ours(ctx, eth) &&
		    (!eth || !ingress_is_open(ctx, mode)))
			return REASON_NOT_OUR_MAC;
		reason = deliver(ctx, eth, packet, decision, mode);
		return reason_forwards(reason) ? REASON_FORWARDED_FRAGMENT :
						 reason;
	}
#endif
	return vip->flags & SERVICE_UNSERVED_PASS ? REASON_UNSERVED_PASSED :
						    REASON_FRAGMENT;
}

/* The reason for packets to a port of the VIP that has no service. */
static __always_inline enum reason unserved_reason(const struct service *vip)
{
	if (vip->flags & SERVICE_UNSERVED_PASS)
		return REASON_UNSERVED_PASSED;
	if (vip->flags & SERVICE_UNSERVED_DROP)
		return REASON_UNSERVED_DROPPED;
	return REASON_NO_SERVICE;
}

/*
 * Balance a packet that a parse_plain_*() function accepted. Returns false, with
 * nothing done, if it is for a VIP but not for a service: balance_any() has the
 * reason for that.
 */
static __always_inline bool
balance_plain(struct xdp_md *ctx, struct ethhdr *eth,
	      const struct service_index *index, const struct packet *packet,
	      struct decision *decision, enum reason *reason)
{
	struct service service, vip;

	*reason = REASON_NOT_VIP;
	if (!index_may_have(index, &packet->destination))
		return true;
	if (unlikely(!service_find(index, packet, &service)) &&
	    !(vip_find(index, &packet->destination, &vip) &&
	      service_find_every_port(index, &vip, packet, &service)))
		return false;
	*reason = forward(ctx, eth, &service, packet, decision, MODE_REMEMBER);
	return true;
}

/*
 * Balance or answer any packet. `mode` is MODE_ASK or MODE_REMEMBER, from which
 * ICMP errors make MODE_ACT.
 */
static __always_inline enum reason
balance_any(struct xdp_md *ctx, const struct service_index *index,
	    struct packet *packet, struct decision *decision, enum mode mode)
{
	enum reason reason = packet_parse(ctx, packet);
	bool icmp = reason == REASON_FORWARDED && packet_is_icmp(packet);
	struct service vip, service;
	struct packet flow = {};

	if (reason == REASON_NOT_IP)
		return packet->eth_proto == bpf_htons(ETH_P_ARP) ?
			       answer_arp(ctx, index, packet) :
			       reason;
	if (icmp && packet->eth_proto == bpf_htons(ETH_P_IPV6)) {
		reason = answer_nd(ctx, index, packet);
		if (reason != REASON_NOT_VIP)
			return reason;
	}
	if (likely(!vip_find(index, &packet->destination, &vip)))
		return REASON_NOT_VIP;
	if (reason == REASON_MALFORMED)
		return reason;
	if (reason == REASON_FRAGMENT)
		return forward_fragment(ctx, &vip, packet, decision, mode);
	if (icmp && packet->fragment)
		return REASON_FRAGMENT;

	if (!icmp)
		flow = *packet;
	else if (!icmp_error_open(ctx, packet, &flow))
		return answer_echo(ctx, packet);
	if (!service_find(index, &flow, &service) &&
	    !service_find_every_port(index, &vip, &flow, &service))
		return icmp ? answer_echo(ctx, packet) : unserved_reason(&vip);
	if (mode == MODE_ASK)
		decision->service = service.id;
	else if (icmp)
		mode = MODE_ACT;
	reason = forward(ctx, frame_ethernet(ctx), &service, &flow, decision,
			 mode);
	return icmp && reason_forwards(reason) ? REASON_FORWARDED_ERROR :
						 reason;
}

static __always_inline enum reason balance(struct xdp_md *ctx,
					   struct decision *decision)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	const struct service_index *index = index_open();
	struct packet packet = {};
	enum reason reason;

	if (unlikely(!index || !parse_plain_ethernet(data, data_end, &packet)))
		return REASON_NOT_IP;
	/* One call for each IP version makes its constants constants. */
	if (packet.eth_proto == bpf_htons(ETH_P_IP)) {
		if (likely(parse_plain_ipv4(data, data_end, &packet)) &&
		    likely(balance_plain(ctx, data, index, &packet, decision,
					 &reason)))
			return reason;
	} else if (packet.eth_proto == bpf_htons(ETH_P_IPV6)) {
		if (likely(parse_plain_ipv6(data, data_end, &packet)) &&
		    likely(balance_plain(ctx, data, index, &packet, decision,
					 &reason)))
			return reason;
	}
	packet = (struct packet){};
	return balance_any(ctx, index, &packet, decision, MODE_REMEMBER);
}

int pydsr_balance(struct xdp_md *ctx)
{
	struct decision decision = {};

	tap_divert(ctx);
	return verdict_count(balance(ctx, &decision), &decision);
}

#ifdef PYDSR_FD_tap_ring
int pydsr_tap(struct xdp_md *ctx)
{
	struct tap_event *event = tap_begin(ctx);
	struct decision decision = {};
	enum reason reason;

	if (!event)
		return XDP_ABORTED;
	reason = balance(ctx, &decision);
	tap_end(event, &decision, reason);
	return verdict_count(reason, &decision);
}
#endif

/* Overwrites the start of the frame with the decision about it. */
int pydsr_explain(struct xdp_md *ctx)
{
	struct decision decision = { .service = NO_SERVICE, .slot = NO_SLOT };
	const struct service_index *index = index_open();
	struct explanation explanation = {};
	struct packet packet = {};
	void *data, *data_end;

	explanation.reason =
		index ? balance_any(ctx, index, &packet, &decision, MODE_ASK) :
			REASON_NOT_IP;
	explanation.service = decision.service;
	explanation.slot = decision.slot;
	explanation.backend = decision.backend;
	explanation.egress = decision.egress;
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	if (data + sizeof(explanation) > data_end)
		return XDP_ABORTED;
	__builtin_memcpy(data, &explanation, sizeof(explanation));
	return XDP_PASS;
}
