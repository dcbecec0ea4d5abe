"""Methods: how the losses of several tasks become one gradient. One class per method."""
