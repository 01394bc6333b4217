"""ctuq: computed tomography with error bars that can be checked.

Names are imported when they are first used, from the modules that `__init__.pyi` lists: `import ctuq` alone loads
neither torch nor CUDA.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
