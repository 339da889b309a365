"""Makes model.joblib; run by whoever trains, not by the service."""

import joblib
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier

if __name__ == "__main__":
    iris = load_iris()
    joblib.dump(
        HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(iris.data, iris.target),
        "model.joblib",
        compress=3,
    )
