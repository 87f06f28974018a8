/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Finding the service or VIP of a packet.
 * pydsr/hashing/service_index.py builds the index that is read here.
 */
#ifndef PYDSR_SERVICE_INDEX_H
#define PYDSR_SERVICE_INDEX_H

#include "bpf.h"
#include "hash.h"
#include "maps.h"
#include "packet.h"
#include "types.h"

/*
 * Copy the service of a key. A copy rather than a pointer, so that the verifier
 * need not follow the rest of the program once for each entry.
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

static __always_inline const struct service_index *index_open(void)
{
	__u32 only = 0;
	void *inner = bpf_map_lookup_elem(MAP(service_index), &only);

	return inner ? bpf_map_lookup_elem(inner, &only) : NULL;
}

/* The bitmap: false for nearly every address that is no VIP. */
static __always_inline bool index_may_have(const struct service_index *index,
					   const struct address *address)
{
	__u64 hash = hash_address(address);

	return index->vips[hash >> (64 - INDEX_VIP_BITS + 6)] >>
		       (hash >> (64 - INDEX_VIP_BITS) & 63) &
	       1;
}

/*
 * The key of an empty entry is zero, and no look-up asks for it: the key of a
 * VIP has is_vip set; the key of a service has a protocol (balance_plain()) or a
 * VIP's address (balance_any()).
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

/* The VIP's service of every port, for the packet's protocol. */
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

#endif
