from django import template

register = template.Library()


@register.simple_tag
def shelf(title: str) -> str:
    return title[:1].upper()
