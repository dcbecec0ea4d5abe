"""What is to be computed: tasks, how they are trained, and the keys of stages."""
