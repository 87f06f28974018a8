/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* From a packet to its service, and to the slot of the service's table. */
#ifndef PYDSR_SERVICES_H
#define PYDSR_SERVICES_H

#include "hash.h"
#include "maps.h"
#include "packet.h"

static __always_inline struct service *
bucket_find(struct service_bucket *bucket, const struct service_key *key)
{
#pragma unroll
	for (int i = 0; i < INDEX_BUCKET_SERVICES; i++) {
		struct service *service = &bucket->services[i];

		if (service->key.vip.halves[1] == key->vip.halves[1] &&
		    service->key.tail == key->tail &&
		    service->key.vip.halves[0] == key->vip.halves[0])
			return service;
	}
	return NULL;
}

/* pydsr/service_index.py puts a service where this looks for it. */
static __always_inline struct service *index_find(const struct service_key *key)
{
	__u32 only = 0;
	void *inner = map_lookup(MAP(service_index), &only);
	struct service_index *index = inner ? map_lookup(inner, &only) : NULL;
	struct service *service;
	__u64 hash;

	/* The key of an empty place is zero, and no VIP is. */
	if (unlikely(!index || !(key->vip.halves[0] | key->vip.halves[1])))
		return NULL;
	hash = hash_words(PYDSR_SEED ^ index->salt, key->vip.halves[0],
			  key->vip.halves[1], key->tail);
	service = bucket_find(&index->buckets[hash >> (64 - INDEX_BUCKET_BITS)],
			      key);
	if (likely(service))
		return service;
	hash = hash >> (64 - 2 * INDEX_BUCKET_BITS) & (INDEX_BUCKETS - 1);
	return bucket_find(&index->buckets[hash], key);
}

static __always_inline struct service *service_find(const struct packet *packet)
{
	struct service_key key = {
		.vip = packet->destination,
		.port = packet->destination_port,
		.ip_proto = packet->ip_proto,
	};

	return index_find(&key);
}

static __always_inline struct service *vip_find(const struct address *address)
{
	struct service_key key = { .vip = *address, .is_vip = 1 };

	return index_find(&key);
}

static __always_inline struct interface *interface_find(struct xdp_md *ctx)
{
	__u32 ifindex = ctx->ingress_ifindex;

	return map_lookup(MAP(interfaces), &ifindex);
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
	struct flow_key flow = { .service = service->id };

	if (likely(service->affinity == AFFINITY_FLOW)) {
		flow.address = packet->source;
		flow.source_port = packet->source_port;
		flow.destination_port = packet->destination_port;
		return flow;
	}
	flow.address = service->affinity == AFFINITY_SOURCE ?
			       packet->source :
			       packet->destination;
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
