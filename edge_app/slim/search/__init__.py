"""`edge-app slim search`: networks with few cycles and a low loss, found by many workers. Needs torch and optuna.

recipe.py    search.yaml: what may vary
study.py     the trials in a shared storage: started, returned, given to another worker if theirs died
evaluate.py  trains one network and measures it
command.py   the work of one worker, and the report
serve.py     the storage for workers on other machines
"""
