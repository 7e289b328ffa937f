"""LPIPS: how far apart two pictures look (Zhang et al. 2018), on the user's own weights."""
