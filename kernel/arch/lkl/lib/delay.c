// SPDX-License-Identifier: GPL-2.0-only
/* Delays, by the time stamp counter. */
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/timex.h>
#include <asm/processor.h>
#include <asm/ukl.h>

void __delay(unsigned long cycles)
{
	cycles_t start = get_cycles();

	while (get_cycles() - start < cycles)
		cpu_relax();
}
EXPORT_SYMBOL(__delay);

void __udelay(unsigned long us)
{
	__delay(us * (ukl_boot_info.tsc_khz / 1000 + 1));
}
EXPORT_SYMBOL(__udelay);

void __ndelay(unsigned long ns)
{
	__delay(ns * (ukl_boot_info.tsc_khz / 1000 + 1) / 1000 + 1);
}
EXPORT_SYMBOL(__ndelay);
