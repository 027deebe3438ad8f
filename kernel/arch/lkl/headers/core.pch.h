/* SPDX-License-Identifier: GPL-2.0-only */
/* What most files outside the network include anyway. */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>
