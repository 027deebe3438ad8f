/* SPDX-License-Identifier: GPL-2.0-only */
/* What nearly every file below net/ and drivers/net/ includes anyway. */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/netdevice.h>
#include <linux/etherdevice.h>
#include <linux/rtnetlink.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/netlink.h>
#include <net/route.h>
#include <net/sock.h>
