from django.urls import path

from library import views

urlpatterns = [
    path("", views.Books.as_view(), name="books"),
    path("new/", views.NewBook.as_view(), name="new"),
    path("api/", views.api, name="api"),
    path("<int:pk>/", views.OneBook.as_view(), name="book"),
]
