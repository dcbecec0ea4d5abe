"""Models: ``nn.Module`` classes built from ``(schema, tasks, **options)`` that map a batch to task → output."""
