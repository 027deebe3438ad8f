// SPDX-License-Identifier: GPL-2.0-only
/*
 * One look into the scheduler, which offers no such question: who would run
 * if `current` stopped?
 */
#include "../../../kernel/sched/sched.h"

#include <asm/ukl.h>

/*
 * The host thread of the first task in the queue; NULL if that is a kernel
 * thread, or if the queue is not the fair one.  `current` is not in the tree.
 */
struct ukl_thread *ukl_next_host(void)
{
	struct rq *rq = this_rq();
	struct rb_node *first = rb_first_cached(&rq->cfs.tasks_timeline);
	struct sched_entity *se;

	if (!first || rq->rt.rt_nr_running)
		return NULL;
	se = rb_entry(first, struct sched_entity, run_node);
	return container_of(se, struct task_struct, se)->thread.host;
}
