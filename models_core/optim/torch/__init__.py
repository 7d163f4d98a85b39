"""Every optimizer of this package as a `torch.optim.Optimizer`.

>>> import torch
>>> from models_core.optim.torch import SONew
>>> model = torch.nn.Linear(4, 2)
>>> optimizer = SONew(model.parameters(), lr=1e-3, band=1)
"""

from __future__ import annotations

from models_core.optim.torch.ada_fd import AdaFD
from models_core.optim.torch.adafactor import Adafactor
from models_core.optim.torch.adagrad import AdaGrad
from models_core.optim.torch.adam import Adam
from models_core.optim.torch.adamw import AdamW
from models_core.optim.torch.fd_son import FDSON
from models_core.optim.torch.lion import Lion
from models_core.optim.torch.muon import Muon
from models_core.optim.torch.nesterov import Nesterov
from models_core.optim.torch.ogd import OGD
from models_core.optim.torch.rfd_son import RFDSON
from models_core.optim.torch.rmsprop import RMSProp
from models_core.optim.torch.s_adagrad import SAdaGrad
from models_core.optim.torch.s_shampoo import SShampoo
from models_core.optim.torch.sgd import SGD
from models_core.optim.torch.shampoo import Shampoo
from models_core.optim.torch.soap import SOAP
from models_core.optim.torch.sonew import SONew
from models_core.optim.torch.sophia import Sophia

__all__ = [
    "FDSON",
    "OGD",
    "RFDSON",
    "SGD",
    "SOAP",
    "AdaFD",
    "AdaGrad",
    "Adafactor",
    "Adam",
    "AdamW",
    "Lion",
    "Muon",
    "Nesterov",
    "RMSProp",
    "SAdaGrad",
    "SONew",
    "SShampoo",
    "Shampoo",
    "Sophia",
]
