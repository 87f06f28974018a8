/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The data plane of pydsr: a packet for a service is sent to a backend of it
 * with nothing changed but its MAC addresses (Direct Server Return).
 *
 * Two programs are made of one path: pydsr_balance is attached to interfaces,
 * pydsr_explain is only ever run by BPF_PROG_TEST_RUN and says where a packet
 * would go, without counting or remembering it.
 *
 * Compiled with PYDSR_TABLE_SIZE, PYDSR_SEED and PYDSR_FD_* defined.
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

#include "answers.h"
#include "consistency.h"
#include "errors.h"
#include "services.h"

/* The attached program's one exit: nothing leaves uncounted. */
static __always_inline int verdict_count(enum reason reason)
{
	__u32 key = reason;
	__u64 *packets = map_lookup(MAP(verdicts), &key);

	if (likely(packets))
		*packets += 1;
	switch (reason) {
#define REASON(name, verdict, text) \
	case REASON_##name:         \
		return XDP_##verdict;
#include "reasons.h"
#undef REASON
	default:
		return XDP_ABORTED;
	}
}

static __always_inline bool reason_forwards(enum reason reason)
{
	return reason <= REASON_FORWARDED_CURRENT;
}

/* Why a packet that no service wants is let through or not. */
static __always_inline enum reason unserved_reason(const struct packet *packet,
						   bool intact)
{
	if (!vip_find(&packet->destination))
		return REASON_NOT_VIP;
	if (!intact)
		return REASON_MALFORMED;
	return packet->fragment ? REASON_FRAGMENT : REASON_NO_SERVICE;
}

static __always_inline bool is_icmp(const struct packet *packet)
{
	return packet->eth_proto == swap16(ETH_P_IP) ?
		       packet->ip_proto == IPPROTO_ICMP :
		       packet->ip_proto == IPPROTO_ICMPV6;
}

/* Ethernet to transport ports; the reason why not, or REASON_FORWARDED. */
static __always_inline enum reason packet_parse(struct xdp_md *ctx,
						struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	bool intact;

	if ((void *)(eth + 1) > data_end)
		return REASON_NOT_IP;
	packet->eth_proto = eth->h_proto;
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
	if (unlikely(!intact || packet->fragment) ||
	    !parse_ports(data, data_end, packet))
		return unserved_reason(packet, intact && packet->fragment);
	return REASON_FORWARDED;
}

/* Choose the backend of a packet that has a service. */
static __always_inline void choice_make(const struct service *service,
					const struct packet *packet,
					struct choice *choice, bool remember)
{
	struct flow_key flow = flow_identify(service, packet);
	struct table *table = table_find(service);
	struct slot slot;

	choice->backend = NO_BACKEND;
	choice->reason = REASON_NO_BACKEND;
	choice->slot = flow_to_slot(&flow);
	if (unlikely(!table || choice->slot >= TABLE_SIZE))
		return;
	slot = table->slots[choice->slot];
	choice->backend = slot.current;
	choice->reason = REASON_FORWARDED;
	if (unlikely(slot.previous != NO_BACKEND))
		choice_tracked(service, table, slot, packet, &flow, choice,
			       remember);
	if (unlikely(choice->backend == NO_BACKEND))
		choice->reason = REASON_NO_BACKEND;
}

static __always_inline void counters_add(__u32 backend,
					 const struct packet *packet)
{
	struct counters *counters = map_lookup(MAP(counters), &backend);

	if (unlikely(!counters))
		return;
	counters->packets += 1;
	counters->bytes += packet->frame_bytes;
	counters->new_flows += packet->tcp_opens;
}

/* Whether frames can be sent to the backend by the interface they came in by. */
static __always_inline enum reason backend_check(const struct backend *backend,
						 union mac mac, __u32 ifindex)
{
	if (unlikely(!mac.word || (mac.octets[0] & 1)))
		return REASON_NO_MAC;
	if (unlikely(backend->ifindex != ifindex))
		return REASON_OTHER_INTERFACE;
	return REASON_FORWARDED;
}

/* Send a frame to the backend of a flow; `remember` as in choice_make(). */
static __always_inline enum reason
forward(struct xdp_md *ctx, const struct service *service,
	const struct packet *packet, bool remember)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct backend *backend;
	struct choice choice;
	enum reason reason;
	union mac mac;
	__u32 id;

	if ((void *)(eth + 1) > data_end)
		return REASON_MALFORMED;
	if (unlikely(!interface_owns(interface_find(ctx), eth->h_dest)))
		return REASON_NOT_OUR_MAC;
	choice_make(service, packet, &choice, remember);
	id = choice.backend;
	backend = map_lookup(MAP(backends), &id);
	if (unlikely(!reason_forwards(choice.reason) || !backend))
		return REASON_NO_BACKEND;
	mac = backend_mac(backend);
	reason = backend_check(backend, mac, ctx->ingress_ifindex);
	if (unlikely(reason != REASON_FORWARDED))
		return reason;
	mac_copy(eth->h_source, eth->h_dest);
	mac_copy(eth->h_dest, mac.octets);
	counters_add(id, packet);
	return choice.reason;
}

/* Send an ICMP error to the backend whose flow it is about. */
static __always_inline enum reason steer_error(struct xdp_md *ctx,
					       const struct packet *error)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct packet flow = {};
	struct service *service;
	enum reason reason;

	if (!error_parse(data, data_end, error, &flow))
		return REASON_ICMP_OTHER;
	service = service_find(&flow);
	if (!service)
		return REASON_ICMP_OTHER;
	reason = forward(ctx, service, &flow, false);
	return reason_forwards(reason) ? REASON_FORWARDED_ERROR : reason;
}

/* Answer for a VIP, or say why a packet without a service is let through or not. */
static __always_inline enum reason answer(struct xdp_md *ctx,
					  const struct packet *packet)
{
	enum reason reason;

	if (!is_icmp(packet))
		return unserved_reason(packet, true);
	if (packet->eth_proto == swap16(ETH_P_IPV6)) {
		reason = answer_nd(ctx);
		if (reason != REASON_NOT_VIP)
			return reason;
	}
	if (!vip_find(&packet->destination))
		return REASON_NOT_VIP;
	reason = steer_error(ctx, packet);
	return reason == REASON_ICMP_OTHER ? answer_echo(ctx, packet) : reason;
}

/* Walk one packet through the balancer. */
static __always_inline enum reason balance(struct xdp_md *ctx)
{
	struct packet packet = {};
	struct service *service;
	enum reason reason;

	reason = packet_parse(ctx, &packet);
	if (reason == REASON_NOT_IP && packet.eth_proto == swap16(ETH_P_ARP))
		return answer_arp(ctx);
	if (unlikely(reason != REASON_FORWARDED))
		return reason;
	service = service_find(&packet);
	if (likely(service))
		return forward(ctx, service, &packet, true);
	return answer(ctx, &packet);
}

/* Where a packet would go that came in by the interface of its backend. */
static __always_inline enum reason explain(struct xdp_md *ctx,
					   struct explanation *explanation)
{
	struct packet packet = {};
	struct backend *backend;
	struct service *service;
	struct choice choice;
	enum reason reason;
	__u32 id;

	reason = packet_parse(ctx, &packet);
	if (reason != REASON_FORWARDED)
		return reason;
	service = service_find(&packet);
	if (!service)
		return unserved_reason(&packet, true);
	choice_make(service, &packet, &choice, false);
	explanation->service = service->id;
	explanation->slot = choice.slot;
	explanation->backend = choice.backend;
	id = choice.backend;
	backend = map_lookup(MAP(backends), &id);
	if (!reason_forwards(choice.reason) || !backend)
		return REASON_NO_BACKEND;
	reason = backend_check(backend, backend_mac(backend), backend->ifindex);
	return reason == REASON_FORWARDED ? choice.reason : reason;
}

int pydsr_balance(struct xdp_md *ctx)
{
	return verdict_count(balance(ctx));
}

int pydsr_explain(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct explanation explanation = {};

	explanation.reason = explain(ctx, &explanation);
	if (data + sizeof(explanation) > data_end)
		return XDP_ABORTED;
	__builtin_memcpy(data, &explanation, sizeof(explanation));
	return XDP_PASS;
}
