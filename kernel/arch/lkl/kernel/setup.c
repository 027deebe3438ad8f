// SPDX-License-Identifier: GPL-2.0-only
/* What a machine would say of itself at boot, and how it stops. */
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/panic_notifier.h>
#include <linux/random.h>
#include <linux/reboot.h>
#include <linux/seq_file.h>
#include <asm/sections.h>
#include <asm/setup.h>
#include <asm/ukl.h>
#include "copy.h"

bool ukl_wide_copies __ro_after_init;

/*
 * ukl.jiffies=N starts the tick counter N ticks before its low 32 bits wrap
 * (the default is 300 s before): for tests of timers across the wrap.
 */
static int __init set_jiffies(char *arg)
{
	unsigned long n;

	if (kstrtoul(arg, 0, &n))
		return -EINVAL;
	jiffies_64 = (u64)(u32)-n;
	return 0;
}
early_param("ukl.jiffies", set_jiffies);

/*
 * What is built in must not make interfaces by itself, as modules would when
 * they are loaded: an instance starts with lo and what its profile asks for.
 */
static const char no_surplus_devices[] __initconst =
	"bonding.max_bonds=0 dummy.numdummies=0 ifb.numifbs=0 fb_tunnels=none ";

void __init setup_arch(char **cmdline_p)
{
	unsigned long max_zone_pfn[MAX_NR_ZONES] = { };

	ukl_early_time();
	ukl_early_console();

	strscpy(boot_command_line, no_surplus_devices, COMMAND_LINE_SIZE);
	strlcat(boot_command_line, ukl_boot_info.cmdline, COMMAND_LINE_SIZE);
	*cmdline_p = boot_command_line;

	memblock_add(0, ukl_boot_info.ram);
	memblock_reserve(0, PAGE_ALIGN(__pa(_end)));
	min_low_pfn = 0;
	max_low_pfn = max_pfn = ukl_boot_info.ram >> PAGE_SHIFT;
	set_max_mapnr(max_pfn);
	max_zone_pfn[ZONE_NORMAL] = max_low_pfn;
	free_area_init(max_zone_pfn);

	parse_early_param();
	add_bootloader_randomness(ukl_boot_info.seed,
				  sizeof(ukl_boot_info.seed));
	memzero_explicit(ukl_boot_info.seed, sizeof(ukl_boot_info.seed));
	/* No loop to time: delays read the time stamp counter. */
	loops_per_jiffy = ukl_boot_info.tsc_khz * 1000 / HZ;
	ukl_wide_copies = ukl_can_copy_wide();
}

void __init trap_init(void)
{
}

void calibrate_delay(void)
{
}

static int panicked(struct notifier_block *nb, unsigned long event, void *msg)
{
	static char why[sizeof(ukl.last_words)];

	snprintf(why, sizeof(why), "the library kernel panicked: %s",
		 (char *)msg);
	ukl_stop(why);
}

static struct notifier_block panic_block = { .notifier_call = panicked };

static int __init watch_panic(void)
{
	atomic_notifier_chain_register(&panic_notifier_list, &panic_block);
	return 0;
}
early_initcall(watch_panic);

void machine_halt(void)
{
	ukl_stop("the library kernel was halted");
}

void machine_power_off(void)
{
	ukl_stop("the library kernel was powered off");
}

void machine_restart(char *cmd)
{
	ukl_stop("the library kernel was restarted");
}

static void *c_start(struct seq_file *m, loff_t *pos)
{
	return *pos < 1 ? (void *)1 : NULL;
}

static void *c_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return NULL;
}

static void c_stop(struct seq_file *m, void *v)
{
}

static int c_show(struct seq_file *m, void *v)
{
	seq_printf(m, "processor\t: 0\nmodel name\t: Linux as a library\n"
		   "cpu MHz\t\t: %lu.%03lu\n\n", ukl_boot_info.tsc_khz / 1000,
		   ukl_boot_info.tsc_khz % 1000);
	return 0;
}

const struct seq_operations cpuinfo_op = {
	.start	= c_start,
	.next	= c_next,
	.stop	= c_stop,
	.show	= c_show,
};
