/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* bcc includes it; nothing of it is used. */
