"""Every optimizer of this package as a `torch.optim.Optimizer`.

>>> import torch
>>> from models_core.optim.torch import SONew
>>> model = torch.nn.Linear(4, 2)
>>> optimizer = SONew(model.parameters(), lr=1e-3, band=1)
"""

from __future__ import annotations

from models_core.optim.torch.adagrad import AdaGrad
from models_core.optim.torch.adam import Adam
from models_core.optim.torch.lion import Lion
from models_core.optim.torch.ogd import OGD
from models_core.optim.torch.rmsprop import RMSProp
from models_core.optim.torch.s_adagrad import SAdaGrad
from models_core.optim.torch.s_shampoo import SShampoo
from models_core.optim.torch.sgd import SGD
from models_core.optim.torch.shampoo import Shampoo
from models_core.optim.torch.sonew import SONew

__all__ = ["OGD", "SGD", "AdaGrad", "Adam", "Lion", "RMSProp", "SAdaGrad", "SONew", "SShampoo", "Shampoo"]
