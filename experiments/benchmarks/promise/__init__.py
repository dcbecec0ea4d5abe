"""``promise``: is one chain as good as the best weights that a grid finds?"""
