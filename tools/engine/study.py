"""x"""
def upstream_of(cfg):
    return None
