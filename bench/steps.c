/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The path of a plain IPv4 packet, cut off after each step. The cost of a step
 * is the difference between its program and the one before. Compiled with the
 * balancer's own source and definitions.
 */
#include "pydsr.c"

/* Keep the compiler from dropping an unused value. */
#define CONSUME(value) asm volatile("" : : "r"((__u64)(value)))

/* The start of every program here. */
#define BEGIN                                         \
	void *data = (void *)(long)ctx->data;         \
	void *data_end = (void *)(long)ctx->data_end; \
	const struct service_index *index;            \
	struct packet packet = {};                    \
                                                      \
	tap_divert(ctx);                              \
	index = index_open();                         \
	if (!index)                                   \
		return XDP_ABORTED;

static __always_inline bool parse(void *data, void *data_end,
				  struct packet *packet)
{
	return parse_plain_ethernet(data, data_end, packet) &&
	       packet->eth_proto == bpf_htons(ETH_P_IP) &&
	       parse_plain_ipv4(data, data_end, packet);
}

static __always_inline bool find(void *data, void *data_end,
				 const struct service_index *index,
				 struct packet *packet, struct service *service)
{
	return parse(data, data_end, packet) &&
	       index_may_have(index, &packet->destination) &&
	       service_find(index, packet, service);
}

int step_begin(struct xdp_md *ctx)
{
	BEGIN
	CONSUME(data);
	CONSUME(data_end);
	CONSUME(packet.frame_bytes);
	return XDP_PASS;
}

int step_parse(struct xdp_md *ctx)
{
	BEGIN
	if (!parse(data, data_end, &packet))
		return XDP_ABORTED;
	CONSUME(packet.source.halves[1]);
	CONSUME(packet.destination.halves[1]);
	CONSUME(packet.source_port);
	CONSUME(packet.destination_port);
	CONSUME(packet.tcp_flags);
	return XDP_PASS;
}

int step_vip(struct xdp_md *ctx)
{
	BEGIN
	if (!parse(data, data_end, &packet) ||
	    !index_may_have(index, &packet.destination))
		return XDP_ABORTED;
	CONSUME(packet.source.halves[1]);
	CONSUME(packet.source_port);
	CONSUME(packet.destination_port);
	CONSUME(packet.tcp_flags);
	return XDP_PASS;
}

int step_service(struct xdp_md *ctx)
{
	struct service service;
	BEGIN
	if (!find(data, data_end, index, &packet, &service))
		return XDP_ABORTED;
	CONSUME(service.id);
	CONSUME(packet.source.halves[1]);
	CONSUME(packet.source_port);
	CONSUME(packet.tcp_flags);
	return XDP_PASS;
}

int step_own_mac(struct xdp_md *ctx)
{
	struct service service;
	BEGIN
	if (!find(data, data_end, index, &packet, &service) ||
	    !frame_is_ours(ctx, data))
		return XDP_ABORTED;
	CONSUME(service.id);
	CONSUME(packet.source.halves[1]);
	CONSUME(packet.source_port);
	CONSUME(packet.tcp_flags);
	return XDP_PASS;
}

int step_slot(struct xdp_md *ctx)
{
	struct service service;
	struct decision decision = {};
	BEGIN
	if (!find(data, data_end, index, &packet, &service) ||
	    !frame_is_ours(ctx, data) ||
	    !reason_forwards(
		    decide(&service, &packet, &decision, MODE_REMEMBER)))
		return XDP_ABORTED;
	CONSUME(decision.backend);
	CONSUME(packet.tcp_flags);
	return XDP_PASS;
}

int step_deliver(struct xdp_md *ctx)
{
	struct service service;
	struct decision decision = {};
	BEGIN
	if (!find(data, data_end, index, &packet, &service) ||
	    !reason_forwards(forward(ctx, data, &service, &packet, &decision,
				     MODE_REMEMBER)))
		return XDP_ABORTED;
	return XDP_TX;
}
