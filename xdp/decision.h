/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the balancer decides about a packet. */
#ifndef PYDSR_DECISION_H
#define PYDSR_DECISION_H

#include "bpf.h"

/* What the programs may do while they decide. */
enum mode {
	/* Count and record nothing: pydsr_explain wants only the decision. */
	MODE_ASK,
	/* Forward and count, but record no flow: for ICMP errors. */
	MODE_ACT,
	/* Forward, count, and record the flow where its slot changes. */
	MODE_REMEMBER,
};

/*
 * The reason of backend_choose_tracked() is a field, because the compiler keeps
 * more in registers than with a result: an IPv6 packet takes four loads and
 * stores less.
 */
struct decision {
	__u32 reason;
	__u32 service;
	__u32 slot;
	__u32 backend;
	__u32 egress; /* interface index, if not the one it came in by */
};

#endif
