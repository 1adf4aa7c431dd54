"""What a study, and the sweeps that choose its settings, are made of: plan, state, tasks, trials and claims."""
