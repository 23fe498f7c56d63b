"""Lets a torchvision that was linked against CUDA import beside a CPU build of torch.

Its compiled ops do not load there, and registering their fakes then fails for want of the ops' names. Run as a script
(``make`` does), this installs itself into the environment if torchvision does not import; then it declares the names
``torchvision::nms`` and ``torchvision::qnms`` just before torchvision is first imported, in every process. A matter of
the environment: the product never calls it.
"""

import importlib.abc
import pathlib
import shutil
import subprocess
import sys
import sysconfig


class BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Declares the ops when torchvision is looked for, then leaves the finding to others."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            library = torch.library.Library("torchvision", "DEF")
            for op in ("nms", "qnms"):
                library.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            sys.modules["_torchvision_ops"] = library  # keeps the declarations alive
        return None


if __name__ == "__main__":
    if subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True).returncode:
        packages = pathlib.Path(sysconfig.get_paths()["purelib"])
        shutil.copyfile(__file__, packages / "_torchvision_cpu.py")
        (packages / "torchvision_cpu.pth").write_text("import _torchvision_cpu\n")
        subprocess.run([sys.executable, "-c", "import torchvision"], check=True)
else:
    sys.meta_path.insert(0, BeforeTorchvision())
