/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* From a packet to its service, and to the slot of the service's table. */
#ifndef PYDSR_SERVICES_H
#define PYDSR_SERVICES_H

#include "hash.h"
#include "maps.h"
#include "packet.h"

/*
 * Copy out the service of a key, if there. A copy rather than a pointer: so
 * the kernel's verifier need not walk all that follows for each place in turn.
 */
static __always_inline bool bucket_find(const struct service_bucket *bucket,
					const struct service_key *key,
					struct service *service)
{
#pragma unroll
	for (int i = 0; i < INDEX_BUCKET_SERVICES; i++) {
		const struct service_entry *entry = &bucket->entries[i];

		if (entry->key.vip.halves[1] == key->vip.halves[1] &&
		    entry->key.tail == key->tail &&
		    entry->key.vip.halves[0] == key->vip.halves[0]) {
			*service = entry->service;
			return true;
		}
	}
	return false;
}

/* The services and VIPs of this moment. */
static __always_inline const struct service_index *index_open(void)
{
	__u32 only = 0;
	void *inner = map_lookup(MAP(service_index), &only);

	return inner ? map_lookup(inner, &only) : NULL;
}

/* Whether an address may be a VIP; what is none is found out by this, nearly always. */
static __always_inline bool index_may_have(const struct service_index *index,
					   const struct address *address)
{
	__u64 hash = hash_address(address);

	return index->vips[hash >> (64 - INDEX_VIP_BITS + 6)] >>
		       (hash >> (64 - INDEX_VIP_BITS) & 63) &
	       1;
}

/*
 * pydsr/hashing/service_index.py puts a service where this looks for it. The key of an
 * empty place is zero, and never sought: a VIP's own has a bit set, and that of
 * a service is sought where its address is a VIP, or it has a protocol.
 */
static __always_inline bool index_find(const struct service_index *index,
				       const struct service_key *key,
				       struct service *service)
{
	__u64 hash =
		(hash_address(&key->vip) + key->tail * HASH_TAIL) * index->salt;

	if (likely(bucket_find(&index->buckets[hash >> (64 - INDEX_BUCKET_BITS)],
			       key, service)))
		return true;
	hash = hash >> (64 - 2 * INDEX_BUCKET_BITS) & (INDEX_BUCKETS - 1);
	return bucket_find(&index->buckets[hash], key, service);
}

static __always_inline bool service_find(const struct service_index *index,
					 const struct packet *packet,
					 struct service *service)
{
	struct service_key key = {
		.vip = packet->destination,
		.port = packet->destination_port,
		.ip_proto = packet->ip_proto,
	};

	return index_find(index, &key, service);
}

/* The service of every port that a VIP has for the packet's protocol. */
static __always_inline bool
service_find_every_port(const struct service_index *index,
			const struct service *vip, const struct packet *packet,
			struct service *service)
{
#ifdef PYDSR_WITH_EVERY_PORT
	struct service_key key = {
		.vip = packet->destination,
		.ip_proto = packet->ip_proto,
	};

	if (vip->flags & SERVICE_EVERY_PORT)
		return index_find(index, &key, service);
#endif
	return false;
}

static __always_inline bool vip_find(const struct service_index *index,
				     const struct address *address,
				     struct service *vip)
{
	struct service_key key = { .vip = *address, .is_vip = 1 };

	return index && index_may_have(index, address) &&
	       index_find(index, &key, vip);
}

static __always_inline struct interface *interface_find(__u32 ifindex)
{
	return map_lookup(MAP(interfaces), &ifindex);
}

/* Whether the balancer is on an interface; the control plane gives it a MAC then. */
static __always_inline bool
interface_is_known(const struct interface *interface)
{
	return interface && mac_load(interface->mac).word;
}

/*
 * Whether a frame was sent to the interface itself. One that was only
 * overheard may be on its way from us to a backend.
 */
static __always_inline bool interface_owns(const struct interface *interface,
					   const __u8 *destination)
{
	return interface &&
	       mac_load(interface->mac).word == mac_load(destination).word;
}

/* One load: the control plane replaces a MAC by one store. */
static __always_inline union mac backend_mac(const struct backend *backend)
{
	union mac mac = { .word = *(const volatile __u64 *)backend };

	return mac;
}

static __always_inline struct table *table_find(const struct service *service)
{
	__u32 id = service->id;
	void *inner = map_lookup(MAP(tables), &id);
	__u32 only = 0;

	return inner ? map_lookup(inner, &only) : NULL;
}

/* The kept bits of 64 in network byte order. */
static __always_inline __u64 prefix_mask(int bits)
{
	if (bits >= 64)
		return ~0ULL;
	return bits > 0 ? swap64(~0ULL << (64 - bits)) : 0;
}

/* What tells one flow of the service from another. */
static __always_inline struct flow_key
flow_identify(const struct service *service, const struct packet *packet)
{
	bool by_destination = service->affinity == AFFINITY_DESTINATION;
	struct flow_key flow = {
		.address = packet->source,
		.service = service->id,
		.source_port = packet->source_port,
		.destination_port = packet->destination_port,
	};

	if (likely(service->affinity == AFFINITY_FLOW))
		return flow;
	flow.source_port = 0;
	flow.destination_port = 0;
	/* By halves: a choice of addresses would keep the packet in memory. */
	if (by_destination) {
		flow.address.halves[0] = packet->destination.halves[0];
		flow.address.halves[1] = packet->destination.halves[1];
	}
	flow.address.halves[0] &= prefix_mask(service->prefix);
	flow.address.halves[1] &= prefix_mask(service->prefix - 64);
	return flow;
}

/* The service is left out: a client meets one backend by 80 and by 443. */
static __always_inline __u32 flow_to_slot(const struct flow_key *flow)
{
	__u64 ports = (__u64)flow->source_port << 16 | flow->destination_port;

	return hash_to_slot(hash_words(PYDSR_SEED, flow->address.halves[0],
				       flow->address.halves[1], ports) >>
			    32);
}

#endif
