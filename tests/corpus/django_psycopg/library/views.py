from django import forms
from django.contrib import messages
from django.db.models import Count, F
from django.db.models.functions import Length, Upper
from django.http import JsonResponse
from django.urls import reverse_lazy
from django.views.generic import CreateView, DetailView, ListView

from library.models import Book


class BookForm(forms.ModelForm):
    class Meta:
        model = Book
        fields = ["title", "price"]


class Books(ListView):
    model = Book
    paginate_by = 10


class OneBook(DetailView):
    model = Book


class NewBook(CreateView):
    model = Book
    form_class = BookForm
    success_url = reverse_lazy("books")

    def form_valid(self, form):
        messages.success(self.request, "saved")
        return super().form_valid(form)


def api(request):
    books = Book.objects.annotate(loud=Upper("title"), length=Length("title")).filter(length__gt=F("price"))
    return JsonResponse(
        {
            "books": list(books.values("title", "loud", "length", "tags", "details")),
            "tagged": Book.objects.filter(tags__contains=["old"]).count(),
            "json": Book.objects.filter(details__pages__gt=100).count(),
            "total": Book.objects.aggregate(n=Count("id"))["n"],
        }
    )
