"""What a command shows while it works: text for people, JSON lines for log collectors."""
