"""The kernel's hands: what an agent can ask for, done here and nowhere else."""
