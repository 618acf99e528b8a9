"""What readers fill in."""

from __future__ import annotations

from django import forms
from django.core.validators import RegexValidator

from django_app.library.models import Reader
from postbox import ADDRESS


class SignUp(forms.ModelForm):
    """A new reader. That an address is there once is the model's word."""

    email = forms.EmailField(validators=[RegexValidator(f"^{ADDRESS}$")])

    class Meta:
        model = Reader
        fields = ("name", "email")


class Upload(forms.Form):
    """A catalogue, of 5 MB at most."""

    file = forms.FileField(max_length=200)

    def clean_file(self) -> object:
        """The file, if it is not too big."""
        file = self.cleaned_data["file"]
        if file.size > 5_000_000:
            raise forms.ValidationError("Choose a file of 5 MB at most.")
        return file
