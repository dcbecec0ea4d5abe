"""Task metrics: ``torchmetrics`` metrics whose ``update`` takes a task's output, its label and the minibatch."""
