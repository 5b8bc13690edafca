"""Published shapes by name: d_model, layers, rows of the table."""

MAMBA = {"mamba-130m": (768, 24, 50280), "mamba-370m": (1024, 48, 50280),
         "mamba-790m": (1536, 48, 50280), "mamba-1.4b": (2048, 48, 50280),
         "mamba-2.8b": (2560, 64, 50280)}
MAMBA2 = {"mamba2-130m": (768, 24, 50288), "mamba2-370m": (1024, 48, 50288),
          "mamba2-780m": (1536, 48, 50288), "mamba2-1.3b": (2048, 48, 50288),
          "mamba2-2.7b": (2560, 64, 50288)}
