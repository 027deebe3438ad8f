// SPDX-License-Identifier: GPL-2.0-only
/*
 * Time: the processor's time stamp counter, whose rate the kernel host tells,
 * and a one-shot timer, which is a deadline that the kernel host's timer
 * thread sleeps for.
 */
#include <linux/clockchips.h>
#include <linux/clocksource.h>
#include <linux/sched/clock.h>
#include <linux/time64.h>
#include <linux/timex.h>
#include <asm/ukl.h>

static u32 ns_mult, ns_shift;
static u64 tsc_base;

static u64 read_tsc(struct clocksource *cs)
{
	return get_cycles();
}

static struct clocksource tsc_clocksource = {
	.name	= "tsc",
	.rating	= 400,
	.read	= read_tsc,
	.mask	= CLOCKSOURCE_MASK(64),
	.flags	= CLOCK_SOURCE_IS_CONTINUOUS | CLOCK_SOURCE_VALID_FOR_HRES,
};

unsigned long long notrace sched_clock(void)
{
	return mul_u64_u32_shr(get_cycles() - tsc_base, ns_mult, ns_shift);
}

void read_persistent_clock64(struct timespec64 *ts)
{
	u64 past = get_cycles() - ukl_boot_info.tsc;

	*ts = ns_to_timespec64(ukl_boot_info.realtime +
			       mul_u64_u32_shr(past, ns_mult, ns_shift));
}

static int timer_set(unsigned long cycles, struct clock_event_device *evt)
{
	WRITE_ONCE(ukl.deadline, get_cycles() + cycles);
	return 0;
}

static int timer_stop(struct clock_event_device *evt)
{
	WRITE_ONCE(ukl.deadline, ~0UL);
	return 0;
}

static struct clock_event_device timer = {
	.name			= "ukl",
	.features		= CLOCK_EVT_FEAT_ONESHOT,
	.rating			= 400,
	.set_next_event		= timer_set,
	.set_state_shutdown	= timer_stop,
	.set_state_oneshot_stopped = timer_stop,
};

void ukl_timer_irq(void)
{
	if (timer.event_handler)
		timer.event_handler(&timer);
}

void __init ukl_early_time(void)
{
	clocks_calc_mult_shift(&ns_mult, &ns_shift, ukl_boot_info.tsc_khz,
			       USEC_PER_SEC, 0);
	tsc_base = get_cycles();
}

void __init time_init(void)
{
	timer.cpumask = cpumask_of(0);
	clocksource_register_khz(&tsc_clocksource, ukl_boot_info.tsc_khz);
	clockevents_config_and_register(&timer, ukl_boot_info.tsc_khz * 1000,
					1000, LONG_MAX);
}
