/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The data plane of pydsr: a packet for a service is sent to a backend of it
 * with nothing changed but its MAC addresses (Direct Server Return).
 *
 * Three programs are made of one path: pydsr_balance is attached to interfaces;
 * pydsr_explain is only ever run by BPF_PROG_TEST_RUN and says where a packet
 * would go, without counting or remembering it; pydsr_tap is what the first
 * one jumps to while somebody captures packets.
 *
 * Compiled with PYDSR_TABLE_SIZE, PYDSR_SEED and PYDSR_FD_* defined, and with
 * PYDSR_WITH_* for each feature that the configuration uses.
 */
#include "types.h"
#include "maps.h"
#include "packet.h"

enum reason {
#define REASON(name, verdict, text) REASON_##name,
#include "reasons.h"
#undef REASON
	REASONS_COUNT,
};

/* The verdicts of all reasons in one number. */
#define VERDICT_BITS 2
#define VERDICT_MASK ((1 << VERDICT_BITS) - 1)
static const __u64 VERDICTS = 0
#define REASON(name, verdict, text) \
	| (__u64)XDP_##verdict << VERDICT_BITS * REASON_##name
#include "reasons.h"
#undef REASON
	;
_Static_assert(VERDICT_BITS *REASONS_COUNT <= 64, "reasons fit the number");
_Static_assert(XDP_TX <= VERDICT_MASK, "verdicts of reasons fit their bits");

#include "admission.h"
#include "answers.h"
#include "consistency.h"
#include "delivery.h"
#include "errors.h"
#include "fragments.h"
#include "services.h"
#include "tap.h"

/* The attached program's one exit: nothing leaves uncounted. */
static __always_inline int verdict_count(enum reason reason,
					 const struct packet *packet)
{
	__u32 key = reason;
	__u64 *packets = map_lookup(MAP(verdicts), &key);

	if (likely(packets))
		*packets += 1;
#ifdef PYDSR_WITH_REDIRECT
	if (packet->egress && reason <= REASON_FORWARDED_ERROR)
		return XDP_REDIRECT;
#endif
	return VERDICTS >> (VERDICT_BITS * reason) & VERDICT_MASK;
}

static __always_inline bool reason_forwards(enum reason reason)
{
	return reason <= REASON_FORWARDED_CURRENT;
}

static __always_inline bool is_icmp(const struct packet *packet)
{
	return packet->eth_proto == swap16(ETH_P_IP) ?
		       packet->ip_proto == IPPROTO_ICMP :
		       packet->ip_proto == IPPROTO_ICMPV6;
}

/*
 * Ethernet to transport ports. The reason why not, or REASON_FORWARDED;
 * REASON_FRAGMENT for a packet that has ports, but not in this fragment.
 */
static __always_inline enum reason packet_parse(struct xdp_md *ctx,
						struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	bool intact;

	if (!parse_ethernet(data, data_end, packet))
		return REASON_NOT_IP;
	if (packet->eth_proto == swap16(ETH_P_IP))
		intact = parse_ipv4(data, data_end, packet);
	else if (packet->eth_proto == swap16(ETH_P_IPV6))
		intact = parse_ipv6(data, data_end, packet);
	else
		return REASON_NOT_IP;
	/* Of a jumbo frame only the first part is linear: ask for the whole. */
	if (unlikely(packet->frame_bytes > data_end - data) &&
	    packet->frame_bytes > packet_length(ctx))
		intact = false;
	if (unlikely(!intact))
		return REASON_MALFORMED;
	if (unlikely(packet->fragment && !fragment_has_ports(packet)))
		return REASON_FRAGMENT;
	return parse_ports(data, data_end, packet) ? REASON_FORWARDED :
						     REASON_MALFORMED;
}

/* Choose the backend of a packet that has a service. */
static __always_inline enum reason
choice_make(const struct service *service, struct packet *packet,
	    struct choice *choice, bool remember)
{
	struct flow_key flow = flow_identify(service, packet);
	struct table *table = table_find(service);
	struct slot slot;

	choice->slot = flow_to_slot(&flow);
	if (unlikely(!table || choice->slot >= TABLE_SIZE))
		return REASON_NO_BACKEND;
	slot = table->slots[choice->slot];
	choice->backend = slot.current;
	choice->reason = REASON_FORWARDED;
	if (unlikely(slot.previous != NO_BACKEND)) {
		/* A copy, as its address is taken: the other stays in registers. */
		struct flow_key tracked = flow;

		choice_tracked(service, table, slot, packet, &tracked, choice,
			       remember);
	}
	packet->service = service->id;
	packet->backend = choice->backend;
	packet->slot = choice->slot;
	return likely(choice->backend != NO_BACKEND) ? choice->reason :
						       REASON_NO_BACKEND;
}

/* Whether a packet may come in, and which backend it goes to then. */
static __always_inline enum reason decide(const struct service *service,
					  struct packet *packet,
					  struct choice *choice, bool remember)
{
	if (unlikely(source_denied(service, packet)))
		return REASON_DENIED;
	if (unlikely(flow_exceeds(service, packet, remember)))
		return REASON_FLOW_RATE;
	return choice_make(service, packet, choice, remember);
}

static __always_inline bool frame_is_ours(struct xdp_md *ctx,
					  const struct ethhdr *eth)
{
	return eth && interface_owns(interface_find(ctx->ingress_ifindex),
				     eth->h_dest);
}

/*
 * Send a frame to the backend of its flow; `remember` as in choice_make(). With
 * `asked`, here and below, it is only asked what would become of it: nothing is
 * counted or remembered, and by an interface that is not known a frame comes in
 * as if by its backend's.
 */
static __always_inline enum reason
forward(struct xdp_md *ctx, struct ethhdr *eth, const struct service *service,
	struct packet *packet, bool remember, bool asked)
{
	enum reason chosen, delivered;
	struct choice choice = {};

	if (unlikely(!frame_is_ours(ctx, eth)) &&
	    (!eth || !comes_from_nowhere(ctx, asked)))
		return REASON_NOT_OUR_MAC;
	chosen = decide(service, packet, &choice, remember && !asked);
	if (unlikely(!reason_forwards(chosen)))
		return chosen;
	delivered = deliver(ctx, eth, packet, asked);
	if (unlikely(!reason_forwards(delivered)))
		return delivered;
#ifdef PYDSR_WITH_FRAGMENTS
	if (unlikely(packet->fragment) && !asked)
		fragment_remember(packet);
#endif
	return chosen;
}

/* Send a later fragment where the packet's first one went. */
static __always_inline enum reason
forward_fragment(struct xdp_md *ctx, const struct service *vip,
		 struct packet *packet, bool asked)
{
#ifdef PYDSR_WITH_FRAGMENTS
	struct ethhdr *eth = eth_find(ctx);
	enum reason reason;

	if (fragment_follow(packet)) {
		if (!frame_is_ours(ctx, eth) &&
		    (!eth || !comes_from_nowhere(ctx, asked)))
			return REASON_NOT_OUR_MAC;
		reason = deliver(ctx, eth, packet, asked);
		return reason_forwards(reason) ? REASON_FORWARDED_FRAGMENT :
						 reason;
	}
#endif
	return vip->flags & SERVICE_UNSERVED_PASS ? REASON_UNSERVED_PASSED :
						    REASON_FRAGMENT;
}

/* The packet of the flow that an ICMP error is about; false where it is about none. */
static __always_inline bool
error_open(struct xdp_md *ctx, const struct packet *error, struct packet *flow)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;

	return error_parse(data, data_end, error, flow);
}

static __always_inline enum reason unserved_reason(const struct service *vip)
{
	if (vip->flags & SERVICE_UNSERVED_PASS)
		return REASON_UNSERVED_PASSED;
	if (vip->flags & SERVICE_UNSERVED_DROP)
		return REASON_UNSERVED_DROPPED;
	return REASON_NO_SERVICE;
}

/*
 * A packet that was found to be plain: for no VIP, or for a service. Else false,
 * and nothing was done: balance_any() is for it.
 */
static __always_inline bool
balance_plain(struct xdp_md *ctx, struct ethhdr *eth,
	      const struct service_index *index, struct packet *packet,
	      enum reason *reason)
{
	struct service service, vip;

	*reason = REASON_NOT_VIP;
	if (!index_may_have(index, &packet->destination))
		return true;
	if (unlikely(!service_find(index, packet, &service)) &&
	    !(vip_find(index, &packet->destination, &vip) &&
	      service_find_every_port(index, &vip, packet, &service)))
		return false;
	*reason = forward(ctx, eth, &service, packet, true, false);
	return true;
}

/*
 * Any packet at all: for a service, a question to a VIP, an error about a flow,
 * or for nobody here.
 */
static __always_inline enum reason
balance_any(struct xdp_md *ctx, const struct service_index *index,
	    struct packet *packet, bool asked)
{
	enum reason reason = packet_parse(ctx, packet);
	bool asks = reason == REASON_FORWARDED && is_icmp(packet);
	struct service vip, service;
	struct packet flow = {};

	if (reason == REASON_NOT_IP)
		return packet->eth_proto == swap16(ETH_P_ARP) ?
			       answer_arp(ctx, index, packet) :
			       reason;
	if (asks && packet->eth_proto == swap16(ETH_P_IPV6)) {
		reason = answer_nd(ctx, index, packet);
		if (reason != REASON_NOT_VIP)
			return reason;
	}
	if (likely(!vip_find(index, &packet->destination, &vip)))
		return REASON_NOT_VIP;
	if (reason == REASON_MALFORMED)
		return reason;
	if (reason == REASON_FRAGMENT)
		return forward_fragment(ctx, &vip, packet, asked);
	if (asks && packet->fragment)
		return REASON_FRAGMENT;

	if (!asks)
		flow = *packet;
	else if (!error_open(ctx, packet, &flow))
		return answer_echo(ctx, packet);
	if (!service_find(index, &flow, &service) &&
	    !service_find_every_port(index, &vip, &flow, &service))
		return asks ? answer_echo(ctx, packet) : unserved_reason(&vip);
	if (asked) {
		flow.service = service.id;
		flow.slot = NO_SLOT;
	}
	reason = forward(ctx, eth_find(ctx), &service, &flow, !asks, asked);
	packet->service = flow.service;
	packet->slot = flow.slot;
	packet->backend = flow.backend;
	packet->egress = flow.egress;
	return asks && reason_forwards(reason) ? REASON_FORWARDED_ERROR :
						 reason;
}

/* Walk one packet through the balancer. */
static __always_inline enum reason balance(struct xdp_md *ctx,
					   struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	const struct service_index *index = index_open();
	enum reason reason;

	if (unlikely(!index || !parse_plain_ethernet(data, data_end, packet)))
		return REASON_NOT_IP;
	/* Once for each version, so that what is constant for it is no variable. */
	if (packet->eth_proto == swap16(ETH_P_IP)) {
		if (likely(parse_plain_ipv4(data, data_end, packet)) &&
		    likely(balance_plain(ctx, data, index, packet, &reason)))
			return reason;
	} else if (packet->eth_proto == swap16(ETH_P_IPV6)) {
		if (likely(parse_plain_ipv6(data, data_end, packet)) &&
		    likely(balance_plain(ctx, data, index, packet, &reason)))
			return reason;
	}
	*packet = (struct packet){};
	return balance_any(ctx, index, packet, false);
}

int pydsr_balance(struct xdp_md *ctx)
{
	struct packet packet = {};

	tap_divert(ctx);
	return verdict_count(balance(ctx, &packet), &packet);
}

#ifdef PYDSR_FD_tap_ring
/* What the attached program jumps to while packets are tapped. */
int pydsr_tap(struct xdp_md *ctx)
{
	struct tap_event *event = tap_begin(ctx);
	struct packet packet = {};
	enum reason reason;

	if (!event)
		return XDP_ABORTED;
	reason = balance(ctx, &packet);
	tap_end(event, &packet, reason);
	return verdict_count(reason, &packet);
}
#endif

/* Leaves in the frame what would become of it. */
int pydsr_explain(struct xdp_md *ctx)
{
	struct packet packet = { .service = NO_SERVICE, .slot = NO_SLOT };
	const struct service_index *index = index_open();
	struct explanation explanation = {};
	void *data, *data_end;

	explanation.reason =
		index ? balance_any(ctx, index, &packet, true) : REASON_NOT_IP;
	explanation.service = packet.service;
	explanation.slot = packet.slot;
	explanation.backend = packet.backend;
	explanation.egress = packet.egress;
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	if (data + sizeof(explanation) > data_end)
		return XDP_ABORTED;
	__builtin_memcpy(data, &explanation, sizeof(explanation));
	return XDP_PASS;
}
