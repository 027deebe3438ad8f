// SPDX-License-Identifier: GPL-2.0-only
/*
 * Time: the processor's time stamp counter, whose rate the kernel host tells,
 * and a one-shot timer, which is a deadline that the kernel host's timer
 * thread sleeps for.
 *
 * The host's wall clock is steered (NTP), and programs read it without a
 * system call: time stamps of this kernel must agree with it, so its own is
 * steered after the host's.
 */
#include <linux/clockchips.h>
#include <linux/clocksource.h>
#include <linux/sched/clock.h>
#include <linux/time64.h>
#include <linux/timex.h>
#include <linux/workqueue.h>
#include <asm/unistd.h>
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

#define FOLLOW_JIFFIES		HZ
#define FIRST_FOLLOW_JIFFIES	(HZ / 10)
#define STEP_NS			(1 * NSEC_PER_MSEC)	/* more is not steered */
#define STEER_SECONDS		4	/* in which an offset goes */
#define MAX_PPB			500000LL

static struct {
	struct delayed_work work;
	s64 offset, at;		/* ns: host's - ours, and when */
	s64 rate, push;		/* ppb: the clocks', and to mend the offset */
	bool steering;
} follow;

/* Host's wall clock - ours, in ns; false if something came between. */
static bool clock_offset(s64 *offset, s64 *now)
{
	struct __kernel_timespec ts;
	s64 before, after;
	int tries;

	for (tries = 0; tries < 5; tries++) {
		before = ktime_get_real_ns();
		if (ukl_hostcall(__NR_clock_gettime, CLOCK_REALTIME, (long)&ts,
				 0, 0, 0, 0))
			return false;
		after = ktime_get_real_ns();
		*offset = ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec -
			  (before + (after - before) / 2);
		*now = after;
		if (after - before < 2 * NSEC_PER_USEC)
			return true;
	}
	return false;
}

static void step_clock(s64 offset)
{
	struct __kernel_timex t = { .modes = ADJ_SETOFFSET | ADJ_NANO };
	s32 ns;

	t.time.tv_sec = div_s64_rem(offset, NSEC_PER_SEC, &ns);
	if (ns < 0) {
		ns += NSEC_PER_SEC;
		t.time.tv_sec--;
	}
	t.time.tv_usec = ns;
	do_adjtimex(&t);
}

static void follow_host_clock(struct work_struct *work)
{
	struct __kernel_timex t = { .modes = ADJ_FREQUENCY };
	unsigned long next = FOLLOW_JIFFIES;
	s64 offset, now, past, drift;

	if (!clock_offset(&offset, &now))
		goto again;
	if (abs(offset) > STEP_NS || !follow.at) {
		step_clock(offset);
		follow.at = now;
		follow.steering = false;
		next = FIRST_FOLLOW_JIFFIES;
		goto again;
	}
	past = now - follow.at;
	if (follow.steering && past > 0) {
		drift = div64_s64((offset - follow.offset) * NSEC_PER_SEC, past) +
			follow.push;
		follow.rate += drift / 2;
	}
	follow.push = div_s64(offset, STEER_SECONDS);
	follow.offset = offset;
	follow.at = now;
	follow.steering = true;
	t.freq = div_s64(clamp(follow.rate + follow.push, -MAX_PPB, MAX_PPB) *
			 65536, 1000);
	do_adjtimex(&t);
again:
	schedule_delayed_work(&follow.work, next);
}

/* The first time at boot, where ticks were lost; an idle kernel is not woken. */
static int __init follow_init(void)
{
	INIT_DEFERRABLE_WORK(&follow.work, follow_host_clock);
	schedule_delayed_work(&follow.work, 0);
	return 0;
}
late_initcall(follow_init);

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
