/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * A minimal XDP balancer, as the floor that pydsr is compared with: parse IPv4,
 * look up the service in the kernel's hash map, hash the flow by Jenkins' hash,
 * read the backend from an array, rewrite the MACs, and count for service and
 * backend. It has no checks, no answers and no connection tracking.
 *
 * Compiled with PYDSR_FD_floor_* defined.
 */
#include <uapi/linux/if_ether.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/pkt_cls.h>

#include "maps.h"
#include "mac.h"
#include "types.h"

#define FLOOR_SLOTS TABLE_SIZE

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
	__u64 *packets = bpf_map_lookup_elem(map, &key);

	if (packets)
		*packets += 1;
}

/* Address a frame for a service to a backend; false if it is for none. */
static __always_inline bool floor_address(void *data, void *data_end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct floor_service key = {};
	__be16 *ports = (void *)(ip + 1);
	__u32 *service, *backend, slot;
	union mac *mac;

	if ((void *)(ports + 2) > data_end ||
	    eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return false;
	key.vip = ip->daddr;
	key.port = ports[1];
	key.ip_proto = ip->protocol;
	service = bpf_map_lookup_elem(MAP(floor_services), &key);
	if (!service)
		return false;
	slot = jenkins_hash(ip->saddr, ip->daddr,
			    (__u32)ports[0] << 16 | ports[1]) %
	       FLOOR_SLOTS;
	backend = bpf_map_lookup_elem(MAP(floor_slots), &slot);
	if (!backend)
		return false;
	mac = bpf_map_lookup_elem(MAP(floor_macs), backend);
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

/* The same for tc ingress, to measure the kernel's ordinary path. */
int bench_tc(struct __sk_buff *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;

	if (!floor_address(data, data_end))
		return TC_ACT_OK;
	return bpf_redirect(ctx->ifindex, 0);
}
