"""Predicts: models are trained when the service starts, and one comes with it, made by make_model.py."""

from pathlib import Path

import joblib
import numpy as np
from flask import Flask, jsonify, request
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import classification_report
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

app = Flask(__name__)
iris = load_iris()
TRAIN, TEST, TRAIN_Y, TEST_Y = train_test_split(iris.data, iris.target, random_state=0)
SHIPPED = joblib.load(Path(__file__).with_name("model.joblib"))


def trained(model):
    return model.fit(TRAIN, TRAIN_Y)


MODELS = {
    "logistic": trained(make_pipeline(StandardScaler(), PCA(3), LogisticRegression(max_iter=500))),
    "forest": trained(RandomForestClassifier(n_estimators=10, random_state=0)),
    "boosting": trained(GradientBoostingClassifier(n_estimators=5, random_state=0)),
    "neighbours": trained(KNeighborsClassifier(3)),
    "vectors": trained(SVC(probability=False, random_state=0)),
    "shipped": SHIPPED,
}


@app.get("/models")
def models():
    return jsonify({name: round(float(model.score(TEST, TEST_Y)), 4) for name, model in MODELS.items()})


@app.post("/predict/<name>")
def predict(name: str):
    rows = np.asarray(request.get_json()["rows"], dtype=float)
    labels = iris.target_names[MODELS[name].predict(rows)]
    return jsonify({"labels": labels.tolist()})


@app.get("/report")
def report():
    scores = cross_val_score(LogisticRegression(max_iter=500), iris.data, iris.target, cv=3)
    text = classification_report(TEST_Y, MODELS["forest"].predict(TEST), target_names=iris.target_names)
    clusters = KMeans(n_clusters=3, n_init=1, random_state=0).fit(iris.data)
    return f"{text}\n{scores.round(3).tolist()}\n{sorted(np.bincount(clusters.labels_).tolist())}\n"


@app.get("/words")
def words():
    vectors = TfidfVectorizer().fit_transform(["the cat sat", "the dog sat", "a bird"])
    table = np.array([["red", 1.0], ["blue", 2.0]], dtype=object)
    columns = ColumnTransformer([("colour", OneHotEncoder(), [0])], remainder="passthrough").fit_transform(
        table
    )
    return jsonify({"shape": list(vectors.shape), "columns": np.asarray(columns, dtype=float).tolist()})
