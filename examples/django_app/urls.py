"""The pages of the library."""

from __future__ import annotations

from django.urls import path

from django_app.library import views

urlpatterns = [
    path("", views.index, name="index"),
    path("activity/", views.activity, name="activity"),
    path("signup", views.signup, name="signup"),
    path("upload", views.upload, name="upload"),
    path("report", views.report, name="report"),
    path("postbox", views.switch_postbox, name="postbox"),
    path("sample.csv", views.sample, name="sample"),
]
