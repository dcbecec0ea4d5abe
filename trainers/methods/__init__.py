"""How a step's gradient is made of the tasks' losses: one class per method, and the one line that names it."""
