echo one
echo {% if %}
