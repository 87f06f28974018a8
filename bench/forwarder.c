/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The least that an XDP balancer by MAC can do, as its authors would first
 * write it: parse IPv4, look the service up in the kernel's hash map, hash the
 * flow by Jenkins' hash, take the backend out of an array, rewrite the MACs,
 * and count for the service and for the backend. It checks nothing, answers
 * nothing and keeps no connection: a floor to compare with.
 *
 * Compiled with PYDSR_FD_floor_* defined.
 */
#include <uapi/linux/pkt_cls.h>

#include "maps.h"
#include "packet.h"

#define FLOOR_SLOTS TABLE_SIZE

/* clang-format off */
static long (*interface_redirect)(__u32 ifindex, __u64 flags) =
	(void *)BPF_FUNC_redirect;
/* clang-format on */

struct floor_service {
	__be32 vip;
	__be16 port;
	__u8 ip_proto;
	__u8 pad;
};

static __always_inline __u32 rotate(__u32 word, int bits)
{
	return word << bits | word >> (32 - bits);
}

/* Bob Jenkins' lookup3, the final mix of three words (public domain). */
static __always_inline __u32 jenkins_hash(__u32 a, __u32 b, __u32 c)
{
	a += 0xdeadbeef;
	b += 0xdeadbeef;
	c += 0xdeadbeef;
	c = (c ^ b) - rotate(b, 14);
	a = (a ^ c) - rotate(c, 11);
	b = (b ^ a) - rotate(a, 25);
	c = (c ^ b) - rotate(b, 16);
	a = (a ^ c) - rotate(c, 4);
	b = (b ^ a) - rotate(a, 14);
	return (c ^ b) - rotate(b, 24);
}

static __always_inline void floor_count(void *map, __u32 key)
{
	__u64 *packets = map_lookup(map, &key);

	if (packets)
		*packets += 1;
}

/* Whether the frame is for a service, and has a backend's MAC now. */
static __always_inline bool floor_address(void *data, void *data_end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct floor_service key = {};
	__be16 *ports = (void *)(ip + 1);
	__u32 *service, *backend, slot;
	union mac *mac;

	if ((void *)(ports + 2) > data_end ||
	    eth->h_proto != swap16(ETH_P_IP) || ip->ihl != 5)
		return false;
	key.vip = ip->daddr;
	key.port = ports[1];
	key.ip_proto = ip->protocol;
	service = map_lookup(MAP(floor_services), &key);
	if (!service)
		return false;
	slot = jenkins_hash(ip->saddr, ip->daddr,
			    (__u32)ports[0] << 16 | ports[1]) %
	       FLOOR_SLOTS;
	backend = map_lookup(MAP(floor_slots), &slot);
	if (!backend)
		return false;
	mac = map_lookup(MAP(floor_macs), backend);
	if (!mac)
		return false;
	floor_count(MAP(floor_packets), *service);
	floor_count(MAP(floor_backends), *backend);
	mac_copy(eth->h_source, eth->h_dest);
	mac_copy(eth->h_dest, mac->octets);
	return true;
}

int bench_forwarder(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;

	return floor_address(data, data_end) ? XDP_TX : XDP_PASS;
}

/* The same where tc takes packets in, for a kernel's ordinary path. */
int bench_tc(struct __sk_buff *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;

	if (!floor_address(data, data_end))
		return TC_ACT_OK;
	return interface_redirect(ctx->ifindex, 0);
}
