"""From the supermarket's raw tables to ranking lists: purchases, the documents of lists, and facts about them."""
