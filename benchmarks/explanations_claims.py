METHODS = {
    "Standard": ("Standard", {}),
    "TRADES": ("TRADES", {}),
    "ARR": ("ARR", {}),
    "ARoW": ("ARoW", {}),
    "CoW": ("ARoW", {"weight": "cow"}),
    "RegMix": ("RegMix", {}),
    "MSE": ("RegMix", {"regularizer": "mse", "gamma": 0}),
    "AR-AT": ("ARAT", {}),
    "AR-AT, no stop-gradient": ("ARAT", {"stop_gradient": False}),
    "AR-AT, no predictor": ("ARAT", {"predictor": False}),
    "AR-AT, no split": ("ARAT", {"split_bn": False}),
    "AR-AT, none of them": ("ARAT", {"stop_gradient": False, "predictor": False, "split_bn": False}),
}
SEEDS = (0, 1, 2)
IMAGES = 500
STUDIES = {
    "AR-AT": ([name for name in METHODS if name.startswith("AR-AT")], ("conflict", "mixture", "bound")),
    "RegMix": (["MSE", "RegMix"], ("surface", "outputs", "bound")),
    "ARR": (["Standard", "TRADES", "ARR"], ("features", "bound")),
    "ARoW": (["TRADES", "CoW", "ARoW"], ("bound", "images", "outputs")),
}
def page(x): return ""
